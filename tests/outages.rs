//! A backend falls silent: it gives neither errors nor answers. Calls that need it fail soon, and
//! then at once; all others go on; and everything works again within seconds of its return.

mod both;
mod pool;
mod full_pool;

use std::time::Duration;

use contract::BookingId;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::{Pool, allocators, bound_keys::BindingState, many};
use testing::{
    Slot, eventually,
    proxy::{Mode, Proxy},
};
use tokio::time::Instant;
use usher::up::Allocation;
use uuid::Uuid;

use crate::{
    beside::Beside,
    harness::{Answer, Plan, System, counted, fresh_key},
    keys::{book, remembers_for_a_day, sold_out},
};

/// Longest time of a refusal at once: below every timeout, but enough for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Longest first failure: 6 s for a statement, the rest for a busy machine.
const POSTGRES_NOTICED: Duration = Duration::from_secs(8);
/// Longest first failure: 2 s for a confirm, and 2 s for a channel.
const BROKER_NOTICED: Duration = Duration::from_secs(4);
/// How long calls are repeated; longer than the pause between two test calls of a breaker.
const ASKED_FOR: Duration = Duration::from_secs(4);
/// Pause between two calls, within the limit of an account.
const BETWEEN_CALLS: Duration = Duration::from_millis(20);
const RECOVERED: Duration = Duration::from_secs(15);
/// Longest time until partitions are let go of; longer than one try to declare a queue.
const LET_GO: Duration = Duration::from_secs(12);

/// How many breakers of a dependency are open in this process.
fn open_breakers(dependency: &str) -> f64 {
    let name = format!("usher_breaker_open{{dependency=\"{dependency}\"}} ");
    let metrics = platform::telemetry::render();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.expect("the metric is there from the start").parse().expect("a number")
}

/// A system, a proxy before one of its backends, a pool on the database without the proxy, and the
/// probe of the backends.
async fn behind(url: impl Fn(&mut Slot) -> &mut String) -> (System, Proxy, Pool, Beside) {
    let mut slot = Slot::take().await;
    let (database, beside) = (slot.pool(), Beside::of(&slot));
    let proxy = Proxy::before(url(&mut slot)).await;
    (System::start_at(slot, Allocation::Here).await, proxy, database, beside)
}

/// Calls again and again: nearly every call must be refused at once, and the test calls of the
/// breaker within `noticed`.
async fn is_refused_at_once(
    beside: &Beside,
    code: &str,
    noticed: Duration,
    ask: impl AsyncFn() -> Answer,
) {
    let began = Instant::now();
    let (mut quick, mut slow) = (0, 0);
    while began.elapsed() < ASKED_FOR {
        let (answer, took) = beside.timed(ask()).await;
        assert_eq!(answer.code(), code, "{answer:?}");
        assert!(took < noticed, "{took:?}");
        *(if took < AT_ONCE { &mut quick } else { &mut slow }) += 1;
        tokio::time::sleep(BETWEEN_CALLS).await;
    }
    assert!(quick > 5 * slow, "{slow} waited, {quick} did not");
}

async fn submit(system: &System, token: &str, key: &str, body: &Value) -> Answer {
    let headers = [("idempotency-key", key)];
    system.call(Method::POST, "/api/v1/bookings", Some(token), &headers, Some(body.clone())).await
}

fn id_of(answer: &Answer) -> BookingId {
    answer.body["bookingId"].as_str().expect("a booking id").parse().expect("a booking id")
}

async fn is_missing(system: &System, dependency: &str) {
    assert!(open_breakers(dependency) > 0.0, "no breaker of {dependency} is open");
    eventually("the node says what is missing", RECOVERED, async || {
        let ready = system.get("/readyz", None).await;
        let named = ready.body["detail"].as_str().is_some_and(|detail| detail.contains(dependency));
        (ready.status == StatusCode::SERVICE_UNAVAILABLE && named).then_some(())
    })
    .await;
}

async fn is_whole_again(system: &System, database: &Pool, accepted: &[BookingId]) {
    eventually("the node is ready again", RECOVERED, async || {
        (system.get("/readyz", None).await.status == StatusCode::OK).then_some(())
    })
    .await;
    eventually("every accepted booking has its outcome", RECOVERED, async || {
        let audit = store::audit::audit(database, None, accepted).await.expect("the audit runs");
        assert!(audit.seats_sold_twice == 0, "{audit:?}");
        (audit.is_clean() && audit.accepted_without_outcome == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_silent_reads_are_refused_and_bookings_wait_in_their_queue() {
    let (system, postgres, database, beside) = behind(|slot| &mut slot.database_url).await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    postgres.set(Mode::Stall);

    let reads = (0..20).map(|_| beside.timed(system.get("/api/v1/movies", None)));
    for (answer, took) in join_all(reads).await {
        assert_eq!(answer.code(), "DATABASE_UNAVAILABLE", "{answer:?}");
        assert!(took < POSTGRES_NOTICED, "{took:?}");
    }
    let order = format!("/api/v1/orders/{}", fresh_key());
    let read = async || system.get(&order, Some(&token)).await;
    is_refused_at_once(&beside, "DATABASE_UNAVAILABLE", POSTGRES_NOTICED, read).await;
    let (booked, took) = beside.timed(submit(&system, &token, &fresh_key(), &body)).await;
    assert_eq!(booked.status, StatusCode::ACCEPTED, "{booked:?}");
    assert!(took < AT_ONCE, "{took:?}");
    let waited = system.book(&token, body).await;
    assert_eq!(waited.status, StatusCode::ACCEPTED, "its outcome cannot be read: {waited:?}");
    is_missing(&system, "postgres").await;

    postgres.forget();
    eventually("reads are answered", RECOVERED, async || {
        (system.get("/api/v1/movies", None).await.status == StatusCode::OK).then_some(())
    })
    .await;
    is_whole_again(&system, &database, &[id_of(&booked), id_of(&waited)]).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_silent_bookings_are_accepted_and_decided_as_always() {
    let (system, redis, database, beside) = behind(|slot| &mut slot.redis_url).await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    redis.set(Mode::Stall);

    let booking = async {
        let mut accepted = Vec::new();
        for _ in 0..30 {
            let booked = submit(&system, &token, &fresh_key(), &body).await;
            assert_eq!(booked.status, StatusCode::ACCEPTED, "{booked:?}");
            accepted.push(id_of(&booked));
        }
        accepted
    };
    // Each booking asks Redis twice: if each waited 0.5 s for it, they would take half a minute.
    let (accepted, took) = beside.timed(booking).await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    let booked = system.book(&system.visitor().await, body).await;
    assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    is_missing(&system, "redis").await;

    redis.forget();
    is_whole_again(&system, &database, &accepted).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_which_redis_was_not_told_is_not_new_when_redis_is_back() {
    let (system, redis, _, _) = behind(|slot| &mut slot.redis_url).await;
    remembers_for_a_day(&system.slot).await;
    redis.set(Mode::Stall);
    let key = fresh_key();
    let (show, winner, booking) = sold_out(&system, &key).await;
    redis.forget();
    eventually("redis is back", RECOVERED, async || {
        (system.get("/readyz", None).await.status == StatusCode::OK).then_some(())
    })
    .await;
    let again = book(&system, &winner, &key, show).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    assert_eq!(id_of(&again), booking);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_leaves_one_answer_unknown_and_refuses_the_rest_at_once() {
    let (system, broker, database, beside) = behind(|slot| &mut slot.amqp_url).await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let before = submit(&system, &token, &fresh_key(), &body).await;
    assert_eq!(before.status, StatusCode::ACCEPTED, "{before:?}");
    broker.set(Mode::Stall);

    let key = fresh_key();
    let (first, took) = beside.timed(submit(&system, &token, &key, &body)).await;
    assert_eq!(first.code(), "OUTCOME_UNKNOWN", "{first:?}");
    assert!(took < BROKER_NOTICED, "{took:?}");
    let (again, took) = beside.timed(submit(&system, &token, &key, &body)).await;
    assert_eq!(again.code(), "OUTCOME_UNKNOWN", "it may be on its queue: {again:?}");
    assert!(took < AT_ONCE, "{took:?}");
    // A new visitor each time, because of the limit per account.
    let submit_one = async || submit(&system, &system.visitor().await, &fresh_key(), &body).await;
    is_refused_at_once(&beside, "QUEUE_UNAVAILABLE", BROKER_NOTICED, submit_one).await;
    is_missing(&system, "rabbitmq").await;
    let read = system.get(&format!("/api/v1/bookings/{}", id_of(&before)), Some(&token)).await;
    assert_eq!(read.status, StatusCode::OK, "{read:?}");

    broker.set(Mode::Pass);
    // No booking comes meanwhile, so the node must find out by itself.
    is_whole_again(&system, &database, &[id_of(&before)]).await;
    let booked = submit(&system, &token, &key, &body).await;
    assert_eq!(booked.status, StatusCode::ACCEPTED, "{booked:?}");
    assert_eq!(id_of(&booked), id_of(&first), "the same key is the same booking");
    is_whole_again(&system, &database, &[id_of(&before), id_of(&booked)]).await;
    system.stop().await;
}

/// If each took its five seconds, sixteen at a time, all would take more than twenty.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_turn_to_be_declared_has_not_come_are_let_go_of_at_once() {
    let (system, broker, database, _) = behind(|slot| &mut slot.amqp_url).await;
    let show = system.scheduled_show(Plan::default()).await;
    broker.set(Mode::Stall);
    let open = "update shows set sale_state = 'ON_SALE' where show_id = $1";
    sqlx::query(open).bind(show.0).execute(&database).await.unwrap();
    many::copy_on_sale(&database, show, 79).await.unwrap();
    let kept = "usher_partitions_held";
    eventually("all are to be declared", RECOVERED, async || (counted(kept) == 80).then_some(()))
        .await;
    let other = Uuid::now_v7();
    eventually("another allocator may have some", LET_GO, async || {
        allocators::beat(&database, other, "another one").await.unwrap();
        (counted(kept) < 80).then_some(())
    })
    .await;
    broker.set(Mode::Pass);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_booking_of_which_the_confirm_was_lost_is_no_unknown_outcome() {
    let system = System::start().await;
    let key = fresh_key();
    let (show, winner, booking) = sold_out(&system, &key).await;
    let mut redis = system.slot.redis().await;
    let named: Vec<String> = redis::cmd("KEYS")
        .arg(format!("idempotency:*:{key}"))
        .query_async(&mut redis)
        .await
        .unwrap();
    let binding: String = redis::cmd("GET").arg(&named[0]).query_async(&mut redis).await.unwrap();
    let binding: Value = serde_json::from_str(&binding).unwrap();
    for state in [BindingState::Unknown, BindingState::Trying] {
        let mut binding = binding.clone();
        binding["state"] = json!(state);
        let set = redis::cmd("SET").arg(&named[0]).arg(binding.to_string()).to_owned();
        let () = set.query_async(&mut redis).await.unwrap();
        let again = book(&system, &winner, &key, show).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
        assert_eq!(again.body["bookingId"], booking.to_string());
    }
    system.stop().await;
}
