//! The `Idempotency-Key`: each request is carried out once, and a refused repetition costs the
//! database nothing.

use std::time::{Duration, Instant};

use contract::{
    AccountId, BookingId, ShowId,
    access::Role,
    booking::{Kind, Reason, Wish},
    booking_id::{BookingIds, RequestIdentity},
    deadline::{BOOKING_DEADLINE, BOOKING_GRACE},
    topology::Partition,
};
use futures_util::future::join_all;
use platform::cache::Cache;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection as _;
use store::{
    bookings::{self, LastTry, Refusal},
    bound_keys::{self, Binding, BindingState},
};
use testing::{Slot, eventually};

use crate::harness::{Answer, Plan, SOON, System, counted, fresh_key};

/// Time after which a booking without an outcome is over.
const OVER: Duration = BOOKING_DEADLINE.saturating_add(BOOKING_GRACE).saturating_add(SOON);
/// Longest time until accepted bookings are reported and seen by an allocator.
pub(crate) const COUNTED: Duration = Duration::from_secs(40);

async fn keyed(system: &System, token: &str, key: &str, path: &str, body: Value) -> Answer {
    let headers = [("idempotency-key", key)];
    system.call(Method::POST, path, Some(token), &headers, Some(body)).await
}

pub(crate) async fn book(system: &System, token: &str, key: &str, show: ShowId) -> Answer {
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    keyed(system, token, key, "/api/v1/bookings", body).await
}

/// A show with one seat, which is sold; the buyer's token and booking.
pub(crate) async fn sold_out(system: &System, key: &str) -> (ShowId, String, BookingId) {
    let show = system.show(Plan { rows: 1, seats: 1, ..Plan::default() }).await;
    let winner = system.visitor().await;
    let won = book(system, &winner, key, show).await;
    assert_eq!(won.status, StatusCode::ACCEPTED, "{won:?}");
    let booking = won.body["bookingId"].as_str().unwrap();
    let seen = eventually("the seat is given", SOON, async || {
        let seen = system.get(&format!("/api/v1/bookings/{booking}"), Some(&winner)).await;
        (seen.body["status"] == "ALLOCATED").then_some(seen)
    })
    .await;
    let order = seen.body["order"]["orderId"].as_str().unwrap();
    let pay = format!("/api/v1/orders/{order}/confirm-payment");
    let paid = system.post(&pay, &winner, json!({"method": "mock"})).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    eventually("the board says so", SOON * 3, async || {
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        let late = system.post("/api/v1/bookings", &winner, body).await;
        (late.code() == "SOLD_OUT").then_some(())
    })
    .await;
    (show, winner, booking.parse().unwrap())
}

/// Makes Redis look as if it had every key of the last day.
pub(crate) async fn remembers_for_a_day(slot: &Slot) {
    let mut redis = slot.redis().await;
    let since = eventually("the memory has a beginning", SOON, async || {
        let mut redis = redis.clone();
        let get = redis::cmd("GET").arg("idempotency_since").to_owned();
        get.query_async::<Option<String>>(&mut redis).await.unwrap()
    })
    .await;
    let (redis_id, at) = since.split_once(' ').unwrap();
    let day_before = at.parse::<i64>().unwrap() - 25 * 3_600_000;
    let mut set = redis::cmd("SET");
    set.arg("idempotency_since").arg(format!("{redis_id} {day_before}"));
    let () = set.query_async(&mut redis).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn losers_of_a_sold_out_show_cost_the_database_nothing_though_each_sends_a_key() {
    let system = System::start().await;
    let slot = system.slot.clone();
    let key = fresh_key();
    let (show, winner, booking) = sold_out(&system, &key).await;
    remembers_for_a_day(&slot).await;
    let mut tokens = Vec::new();
    for _ in 0..25 {
        tokens.push(system.visitor().await);
    }
    let asked = counted("usher_key_questions_total");
    for _ in 0..20 {
        let refused = tokens.iter().map(|token| async {
            let key = fresh_key();
            book(&system, token, &key, show).await
        });
        for answer in join_all(refused).await {
            assert_eq!((answer.status.as_u16(), answer.code()), (409, "SOLD_OUT"), "{answer:?}");
        }
    }
    let again = book(&system, &winner, &key, show).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "the winner's is repeated: {again:?}");
    assert_eq!(again.body["bookingId"], booking.to_string());
    assert_eq!(counted("usher_key_questions_total"), asked);
    // Connections report their statistics when they end, which is with the system.
    system.stop().await;
    let mut database = sqlx::PgConnection::connect(&slot.database_url).await.unwrap();
    let searches = "select idx_scan from pg_stat_user_indexes where indexrelname = 'bookings_pkey'";
    let searches: i64 = sqlx::query_scalar(searches).fetch_one(&mut database).await.unwrap();
    assert!((1..100).contains(&searches), "500 were refused, bookings searched {searches} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_of_the_version_before_took_is_not_refused() {
    let system = System::start().await;
    let (show, _, _) = sold_out(&system, &fresh_key()).await;
    remembers_for_a_day(&system.slot).await;
    let (account, token) = system.account(Role::User).await;
    let (tier, wish) = ("STANDARD".parse().unwrap(), Wish::BestAvailable(1));
    let mut redis = system.slot.redis().await;
    for (mark, status) in [("", 202), ("?", 503)] {
        let key = fresh_key();
        let asked = RequestIdentity {
            account,
            show,
            tier: &tier,
            kind: Kind::Order,
            wish: &wish,
            key: &key,
        };
        let booking = BookingIds::new(&system.slot.master_key()).derive(&asked);
        let mut set = redis::cmd("SET");
        set.arg(format!("idempotency:{{{show}}}:{account}:{key}")).arg(format!("{booking}{mark}"));
        let () = set.query_async(&mut redis).await.unwrap();
        let again = book(&system, &token, &key, show).await;
        assert_eq!(again.status.as_u16(), status, "{again:?}");
        assert_eq!(again.body["bookingId"], booking.to_string());
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_redis_forgot_nobody_is_refused_before_it_is_known_that_nothing_was_accepted() {
    let system = System::start().await;
    let key = fresh_key();
    let (show, winner, booking) = sold_out(&system, &key).await;
    let mut redis = system.slot.redis().await;
    let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    let again = book(&system, &winner, &key, show).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "the database knows it: {again:?}");
    assert_eq!(again.body["bookingId"], booking.to_string());
    // Right after the loss, the booking might have been accepted a moment before it.
    let (loser, fresh) = (system.visitor().await, fresh_key());
    let early = book(&system, &loser, &fresh, show).await;
    assert_eq!((early.status.as_u16(), early.code()), (503, "OUTCOME_UNKNOWN"), "{early:?}");
    assert!(early.headers.contains_key("retry-after"));
    eventually("it is known that nothing was", COUNTED, async || {
        let late = book(&system, &loser, &fresh, show).await;
        assert!(matches!(late.code(), "OUTCOME_UNKNOWN" | "SOLD_OUT" | "RATE_LIMITED"), "{late:?}");
        (late.code() == "SOLD_OUT").then_some(())
    })
    .await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_tries_at_once_one_is_published_and_another_body_is_refused() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (token, key) = (system.visitor().await, fresh_key());
    let tries = (0..50_u32).map(|n| {
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": n % 2 + 1});
        keyed(&system, &token, &key, "/api/v1/bookings", body)
    });
    let answers = join_all(tries).await;
    let (accepted, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::ACCEPTED);
    assert_eq!((accepted.len(), refused.len()), (25, 25), "{answers:?}");
    assert!(refused.iter().all(|answer| answer.code() == "IDEMPOTENCY_KEY_REUSED"));
    let first = &accepted[0].body["bookingId"];
    assert!(accepted.iter().all(|answer| answer.body["bookingId"] == *first));
    let name = format!("usher_accepted_total{{show=\"{show}\",tier=\"STANDARD\"}}");
    assert_eq!(counted(&name), 1, "one was published");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_took_the_place_of_another_proves_nothing_by_what_it_lacks() {
    let system = System::start().await;
    let (show, _, _) = sold_out(&system, &fresh_key()).await;
    let mut redis = system.slot.redis().await;
    remembers_for_a_day(&system.slot).await;
    let get = redis::cmd("GET").arg("idempotency_since").to_owned();
    let since: String = get.query_async(&mut redis).await.unwrap();
    let (redis_id, at) = since.split_once(' ').unwrap();
    let mut set = redis::cmd("SET");
    set.arg("idempotency_since").arg(format!("{} {at}", "0".repeat(redis_id.len())));
    let () = set.query_async(&mut redis).await.unwrap();
    let asked = counted("usher_key_questions_total");
    let refused = book(&system, &system.visitor().await, &fresh_key(), show).await;
    assert!(matches!(refused.code(), "OUTCOME_UNKNOWN" | "SOLD_OUT"), "{refused:?}");
    assert_eq!(counted("usher_key_questions_total"), asked + 1, "the database is asked");
    let now: String = get.query_async(&mut redis).await.unwrap();
    assert!(now.starts_with(redis_id) && !now.ends_with(at), "it remembers from now on: {now}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_key_is_never_refused_and_what_was_accepted_is_told() {
    let system = System::start_without_redis().await;
    let key = fresh_key();
    let (show, winner, booking) = sold_out(&system, &key).await;
    let (loser, unused) = (system.visitor().await, fresh_key());
    let began = Instant::now();
    // The answer stays the same until long after all bookings have been counted.
    while began.elapsed() < COUNTED / 2 {
        let again = book(&system, &winner, &key, show).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
        assert_eq!(again.body["bookingId"], booking.to_string(), "{again:?}");
        let late = book(&system, &loser, &unused, show).await;
        assert_eq!((late.status.as_u16(), late.code()), (503, "OUTCOME_UNKNOWN"), "{late:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seen = system.get(&format!("/api/v1/bookings/{booking}"), Some(&winner)).await;
    assert_eq!(seen.body["status"], "ALLOCATED", "{seen:?}");
    system.stop().await;
}

/// Writes the binding of a keyed request that a node tried long ago.
async fn tried_long_ago(
    system: &System,
    account: AccountId,
    show: ShowId,
    key: &str,
    state: BindingState,
) -> BookingId {
    let (tier, wish) = ("STANDARD".parse().unwrap(), Wish::BestAvailable(1));
    let asked = RequestIdentity { account, show, tier: &tier, kind: Kind::Order, wish: &wish, key };
    let booking = BookingIds::new(&system.slot.master_key()).derive(&asked);
    let at = system.now().await - OVER;
    let binding = Binding { request: booking.to_string(), state, at };
    let last = LastTry { show, tier: tier.clone(), kind: Kind::Order, key: key.into(), at };
    let mut pipeline = redis::pipe();
    bound_keys::rebind(&mut pipeline, account, key, &binding);
    bookings::remember(&mut pipeline, booking, &last);
    let cache = Cache::new(&system.slot.redis_url).unwrap();
    let mut connection = cache.connection().unwrap();
    let () = pipeline.query_async(&mut connection).await.unwrap();
    booking
}

#[tokio::test(flavor = "multi_thread")]
async fn who_repeats_a_request_that_was_accepted_and_lost_is_told_that_it_expired() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(Role::User).await;
    let key = fresh_key();
    let booking = tried_long_ago(&system, account, show, &key, BindingState::Done).await;
    for _ in 0..2 {
        let again = book(&system, &token, &key, show).await;
        assert_eq!(again.status, StatusCode::OK, "{again:?}");
        assert_eq!(again.body["bookingId"], booking.to_string());
        assert_eq!(again.body["reason"], "EXPIRED", "{again:?}");
    }
    // If the result of the try is unknown, the request may still be carried out.
    let key = fresh_key();
    let booking = tried_long_ago(&system, account, show, &key, BindingState::Unknown).await;
    let again = book(&system, &token, &key, show).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    assert_eq!(again.body["bookingId"], booking.to_string());
    eventually("it is carried out", SOON, async || {
        let seen = system.get(&format!("/api/v1/bookings/{booking}"), Some(&token)).await;
        (seen.body["status"] == "ALLOCATED").then_some(())
    })
    .await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_expired_stays_so_whatever_it_would_be_refused_for_later() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(Role::User).await;
    let accepted_at = system.now().await - OVER;
    let booking = BookingIds::new(&system.slot.master_key()).fresh(account, accepted_at);
    let path = format!("/api/v1/bookings/{booking}");
    assert_eq!(system.get(&path, Some(&token)).await.body["reason"], "EXPIRED");
    for reason in [Reason::SaleClosed, Reason::Internal] {
        let refusal = Refusal {
            partition: Partition { show, tier: "STANDARD".parse().unwrap() },
            booking,
            account,
            kind: Kind::Order,
            idempotency_key: None,
            number: None,
            deadline: Some(accepted_at + BOOKING_DEADLINE),
            reason,
        };
        bookings::refuse(&system.pool, &refusal).await.unwrap();
        assert_eq!(system.get(&path, Some(&token)).await.body["reason"], "EXPIRED");
    }
    system.stop().await;
}

/// Books one seat; returns the order's id.
async fn ordered(system: &System, token: &str, show: ShowId) -> String {
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let booked = system.book(token, body).await;
    booked.body["order"]["orderId"].as_str().unwrap_or_else(|| panic!("{booked:?}")).to_owned()
}

fn is_reused(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (422, "IDEMPOTENCY_KEY_REUSED"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_pays_and_cancels_one_order_and_no_other() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let post =
        async |key: &str, path: String, body: Value| keyed(&system, &token, key, &path, body).await;
    let pay = |order: &str| format!("/api/v1/orders/{order}/confirm-payment");
    let cancel = |order: &str| format!("/api/v1/orders/{order}/cancel");
    let (mock, decline) = (json!({"method": "mock"}), json!({"method": "mock-decline"}));
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(ordered(&system, &token, show).await);
    }

    let paying = fresh_key();
    let paid = post(&paying, pay(&orders[0]), mock.clone()).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    is_reused(&post(&paying, pay(&orders[1]), mock.clone()).await);
    is_reused(&post(&paying, pay(&orders[0]), decline.clone()).await);
    is_reused(&post(&paying, cancel(&orders[0]), Value::Null).await);
    is_reused(&book(&system, &token, &paying, show).await);
    let order = system.get(&format!("/api/v1/orders/{}", orders[1]), Some(&token)).await;
    assert_eq!(order.body["status"], "PAYMENT_PENDING", "{order:?}");

    let declining = fresh_key();
    for _ in 0..2 {
        let declined = post(&declining, pay(&orders[1]), decline.clone()).await;
        assert_eq!((declined.status.as_u16(), declined.code()), (402, "PAYMENT_FAILED"));
    }
    is_reused(&post(&declining, pay(&orders[1]), mock.clone()).await);
    is_reused(&post(&declining, pay(&orders[2]), decline).await);

    let cancelling = fresh_key();
    for _ in 0..2 {
        let cancelled = post(&cancelling, cancel(&orders[0]), Value::Null).await;
        assert_eq!(cancelled.body["status"], "CANCELLED", "{cancelled:?}");
    }
    is_reused(&post(&cancelling, cancel(&orders[2]), Value::Null).await);
    let again = post(&paying, pay(&orders[0]), mock.clone()).await;
    assert_eq!(again.body, paid.body, "the same request has the same answer");

    // The key of a booking cannot be used for a payment.
    let booking = fresh_key();
    assert_eq!(book(&system, &token, &booking, show).await.status, StatusCode::ACCEPTED);
    is_reused(&post(&booking, pay(&orders[2]), mock.clone()).await);
    // A failed call leaves no trace, so its key may be used again.
    let failing = fresh_key();
    let failed = post(&failing, pay(&orders[1]), mock.clone()).await;
    assert_eq!(failed.code(), "ORDER_FAILED", "{failed:?}");
    let paid = post(&failing, pay(&orders[2]), mock).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
