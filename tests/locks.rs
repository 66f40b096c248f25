//! Seat locks in Redis: after any fault they come to agree with the claims in Postgres.

use std::{collections::BTreeMap, time::Duration};

use contract::ShowId;
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::eventually;

use crate::harness::{Plan, SOON, System};

/// Longest time until a walk has seen every lock of a small hall: 10 s, the rest for a busy
/// machine.
const A_WALK: Duration = Duration::from_secs(15);
/// Too soon for a walk to be the reason.
pub(crate) const PROMPTLY: Duration = Duration::from_secs(5);
const A_DAY: Duration = Duration::from_hours(24);

/// Seats of a show, each with its booking.
pub(crate) type Seats = BTreeMap<String, String>;

async fn locks(redis: &MultiplexedConnection, show: ShowId) -> Seats {
    let mut redis = redis.clone();
    let prefix = format!("seat_lock:{{{show}}}:");
    let keys: Vec<String> = redis.keys(format!("{prefix}*")).await.unwrap();
    let mut locks = Seats::new();
    for key in keys {
        // A lock may expire between the two commands.
        if let Some(booking) = redis.get::<_, Option<String>>(&key).await.unwrap() {
            locks.insert(key[prefix.len()..].to_owned(), booking);
        }
    }
    locks
}

async fn claims(system: &System, show: ShowId) -> Seats {
    let rows = sqlx::query_as::<_, (String, String)>(
        "select seat_id, booking_id::text from seat_claims
         where show_id = $1 and state in ('HELD', 'SOLD')",
    );
    rows.bind(show.0).fetch_all(&system.pool).await.unwrap().into_iter().collect()
}

pub(crate) async fn locks_say_what_claims_say(
    system: &System,
    show: ShowId,
    within: Duration,
) -> Seats {
    let redis = system.slot.redis().await;
    eventually("the locks are those of the claims", within, async || {
        let claims = claims(system, show).await;
        (locks(&redis, show).await == claims).then_some(claims)
    })
    .await
}

async fn book(system: &System, token: &str, show: ShowId, seats: &[&str]) -> Value {
    let body = json!({"showId": show, "tier": "STANDARD", "seats": seats});
    let booked = system.book(token, body).await;
    assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    booked.body
}

#[tokio::test(flavor = "multi_thread")]
async fn seat_locks_are_rebuilt_after_a_flush() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    book(&system, &token, show, &["A1", "A2"]).await;
    book(&system, &token, show, &["B3"]).await;
    assert_eq!(locks_say_what_claims_say(&system, show, SOON).await.len(), 3);

    let mut redis = system.slot.redis().await;
    let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    // The next booking finds the generation gone, so the locks are written before the next walk.
    book(&system, &token, show, &["C1"]).await;
    assert_eq!(locks_say_what_claims_say(&system, show, PROMPTLY).await.len(), 4);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_equal_claims_after_quiet() {
    let system = System::start().await;
    let show = system.show(Plan { hold_seconds: 2, ..Plan::default() }).await;
    let token = system.visitor().await;
    book(&system, &token, show, &["A1"]).await;
    let cancelled = book(&system, &token, show, &["A2"]).await;
    let hold = async |seat: &str| {
        let body = json!({"showId": show, "tier": "STANDARD", "seats": [seat]});
        let held = system.post("/api/v1/holds", &token, body).await;
        assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
        format!("/api/v1/holds/{}", held.body["holdId"].as_str().unwrap())
    };
    let (released, _lapses) = (hold("B1").await, hold("B2").await);
    assert_eq!(locks_say_what_claims_say(&system, show, SOON).await.len(), 4);

    let order = cancelled["order"]["orderId"].as_str().unwrap();
    system.post(&format!("/api/v1/orders/{order}/cancel"), &token, json!({})).await;
    system.call(Method::DELETE, &released, Some(&token), &[], None).await;
    eventually("only the order is left", SOON, async || {
        (claims(&system, show).await.len() == 1).then_some(())
    })
    .await;
    let left = locks_say_what_claims_say(&system, show, PROMPTLY).await;
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["A1"]);
    system.stop().await;
}

/// A lock is no reason to refuse, so a seat may be won that is locked for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_was_locked_for_another_is_soon_locked_for_its_winner() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    book(&system, &token, show, &["A1"]).await;
    locks_say_what_claims_say(&system, show, SOON).await;
    let (mut redis, key) = (system.slot.redis().await, format!("seat_lock:{{{show}}}:A2"));
    let undecided = contract::BookingId::new().to_string();
    let () = redis.set_ex(&key, &undecided, A_DAY.as_secs()).await.unwrap();
    book(&system, &token, show, &["A2"]).await;
    assert_eq!(locks_say_what_claims_say(&system, show, PROMPTLY).await.len(), 2);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_seat_stays_locked_until_the_show_is_over() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let booked = book(&system, &token, show, &["A1"]).await;
    let order = format!("/api/v1/orders/{}", booked["order"]["orderId"].as_str().unwrap());
    let redis = system.slot.redis().await;
    let left = async || {
        let left: i64 = redis.clone().pttl(format!("seat_lock:{{{show}}}:A1")).await.unwrap();
        Duration::from_millis(left.unsigned_abs())
    };
    eventually("the lock ends with the time to pay", SOON, async || {
        let left = left().await;
        (left > Duration::from_mins(4) && left <= Duration::from_mins(5)).then_some(())
    })
    .await;
    let paid =
        system.post(&format!("{order}/confirm-payment"), &token, json!({"method": "mock"})).await;
    assert_eq!(paid.status, StatusCode::OK, "{paid:?}");
    eventually("the lock outlives the show", SOON, async || {
        let left = left().await;
        (left > A_DAY * 2 && left < A_DAY * 3).then_some(())
    })
    .await;
    system.post(&format!("{order}/cancel"), &token, json!({})).await;
    assert!(locks_say_what_claims_say(&system, show, SOON).await.is_empty());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_were_lost_or_left_over_are_mended_though_nobody_books() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let booked = book(&system, &token, show, &["A1", "A2"]).await;
    locks_say_what_claims_say(&system, show, SOON).await;

    let key = |seat: &str| format!("seat_lock:{{{show}}}:{seat}");
    let mut redis = system.slot.redis().await;
    let () = redis.del(key("A1")).await.unwrap();
    let ours = booked["bookingId"].as_str().unwrap();
    let () = redis.set_ex(key("D9"), ours, A_DAY.as_secs()).await.unwrap();
    let undecided = contract::BookingId::new().to_string();
    let () = redis.set_ex(key("D10"), &undecided, A_DAY.as_secs()).await.unwrap();
    eventually("a walk has come by", A_WALK, async || {
        let locks = locks(&redis, show).await;
        (locks.contains_key("A1") && !locks.contains_key("D9")).then_some(())
    })
    .await;
    // That booking may be under way, so its lock stays until it expires.
    assert_eq!(locks(&redis, show).await.get("D10"), Some(&undecided));
    system.stop().await;
}
