//! Bookings that were accepted, or perhaps accepted, and never got an outcome.

use std::time::Duration;

use contract::{
    BookingId, ShowId,
    access::Role,
    booking::{Kind, Wish},
    booking_id::{BookingIds, RequestIdentity},
    deadline::{BOOKING_DEADLINE, BOOKING_GRACE},
};
use platform::cache::Cache;
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::bookings::{self, LastTry};
use testing::eventually;

use crate::{
    harness::{Answer, Plan, SOON, System, fresh_key},
    journey::{frame_where, socket},
};

/// Time after which a booking without an outcome is over.
const OVER: Duration = BOOKING_DEADLINE.saturating_add(BOOKING_GRACE).saturating_add(SOON);

async fn look(system: &System, id: BookingId, token: &str) -> (String, String) {
    let seen = system.get(&format!("/api/v1/bookings/{id}"), Some(token)).await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    let word = |name: &str| seen.body[name].as_str().unwrap_or("").to_owned();
    (word("status"), word("reason"))
}

fn says(told: &(String, String), status: &str, reason: &str) -> bool {
    (told.0.as_str(), told.1.as_str()) == (status, reason)
}

async fn rows(system: &System, id: BookingId) -> i64 {
    let rows = sqlx::query_scalar("select count(*) from bookings where booking_id = $1");
    rows.bind(id.0).fetch_one(&system.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_without_a_key_that_was_never_stored_ends_expired() {
    let system = System::start().await;
    let (account, token) = system.account(Role::User).await;
    let ids = BookingIds::new(&system.slot.master_key());
    let now = system.now().await;
    let young = ids.fresh(account, now - BOOKING_DEADLINE);
    assert!(says(&look(&system, young, &token).await, "QUEUED", ""), "it may still be decided");
    let old = ids.fresh(account, now - OVER);
    assert!(says(&look(&system, old, &token).await, "REJECTED", "EXPIRED"));
    let mut live = socket(
        &system,
        &format!("/api/v1/bookings/{old}/live"),
        &format!("usher.v1, bearer.{token}"),
    )
    .await;
    frame_where(&mut live, |frame| frame["reason"] == "EXPIRED").await;
    let stranger = system.visitor().await;
    let theirs = system.get(&format!("/api/v1/bookings/{old}"), Some(&stranger)).await;
    assert_eq!(theirs.status, StatusCode::NOT_FOUND);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_booking_that_was_never_stored_ends_expired_for_everybody_and_for_good() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(Role::User).await;
    let cache = Cache::new(&system.slot.redis_url).unwrap();
    let (tier, wish, key) = ("STANDARD".parse().unwrap(), Wish::BestAvailable(1), fresh_key());
    let asked =
        RequestIdentity { account, show, tier: &tier, kind: Kind::Order, wish: &wish, key: &key };
    let id = BookingIds::new(&system.slot.master_key()).derive(&asked);
    let try_at = async |at| {
        let last = LastTry { show, tier: tier.clone(), kind: Kind::Order, key: key.clone(), at };
        let mut pipeline = redis::pipe();
        bookings::remember(&mut pipeline, id, &last);
        let mut connection = cache.connection().unwrap();
        let () = pipeline.query_async(&mut connection).await.unwrap();
    };
    try_at(system.now().await - BOOKING_DEADLINE).await;
    assert!(says(&look(&system, id, &token).await, "QUEUED", ""));
    assert_eq!(rows(&system, id).await, 0);
    try_at(system.now().await - OVER).await;
    assert!(says(&look(&system, id, &token).await, "REJECTED", "EXPIRED"));
    assert_eq!(rows(&system, id).await, 1, "the outcome is written");

    // The same request again, and a late delivery: both find the booking decided.
    let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=10")];
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let again =
        system.call(Method::POST, "/api/v1/bookings", Some(&token), &headers, Some(body)).await;
    assert_eq!(again.body["reason"], "EXPIRED", "{again:?}");
    assert_eq!(again.body["bookingId"], id.to_string());
    assert!(system.audit(&[id]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_redis_forgot_ends_expired_some_time_after_the_first_look() {
    let system = System::start().await;
    let (account, token) = system.account(Role::User).await;
    let (show, tier, wish) = (ShowId::new(), "STANDARD".parse().unwrap(), Wish::BestAvailable(1));
    let asked =
        RequestIdentity { account, show, tier: &tier, kind: Kind::Hold, wish: &wish, key: "k" };
    let id = BookingIds::new(&system.slot.master_key()).derive(&asked);
    assert!(says(&look(&system, id, &token).await, "QUEUED", ""));
    let mut redis = system.slot.redis().await;
    let first = (system.now().await - OVER).timestamp();
    let key = format!("booking_looked_for:{id}");
    let mut set = redis::cmd("SET");
    // Only if the first look has written it.
    set.arg(key).arg(first).arg("XX").arg("KEEPTTL");
    let set: Option<String> = set.query_async(&mut redis).await.unwrap();
    assert!(set.is_some(), "the first look started a clock");
    assert!(says(&look(&system, id, &token).await, "REJECTED", "EXPIRED"));
    assert_eq!(rows(&system, id).await, 0);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_booked_one_show_does_not_book_another() {
    let system = System::start().await;
    let shows = [system.show(Plan::default()).await, system.show(Plan::default()).await];
    let (token, key) = (system.visitor().await, fresh_key());
    let book = async |show: ShowId| -> Answer {
        let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=10")];
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        system.call(Method::POST, "/api/v1/bookings", Some(&token), &headers, Some(body)).await
    };
    assert_eq!(book(shows[0]).await.body["status"], "ALLOCATED");
    let other = book(shows[1]).await;
    assert_eq!((other.status.as_u16(), other.code()), (422, "IDEMPOTENCY_KEY_REUSED"), "{other:?}");
    assert!(book(shows[0]).await.status.is_success());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_waits_for_a_payment_past_the_orders_time_is_told_the_truth() {
    let system = System::start().await;
    let show = system.show(Plan { order_seconds: 2, ..Plan::default() }).await;
    let token = system.visitor().await;
    // As many bookings as in a sale, among which one is found by its id, after the wait.
    let losers =
        "insert into bookings (show_id, booking_id, account_id, tier, kind, status, reason)
                  select $1, gen_random_uuid(), gen_random_uuid(), 'STANDARD', 'ORDER', 'REJECTED',
                      'SOLD_OUT'
                  from generate_series(1, 1000)";
    sqlx::query(losers).bind(show.0).execute(&system.pool).await.unwrap();
    sqlx::query("analyze bookings").execute(&system.pool).await.unwrap();
    let wish = json!({"showId": show, "tier": "STANDARD", "seats": ["A1"]});
    let order =
        system.book(&token, wish).await.body["order"]["orderId"].as_str().unwrap().to_owned();
    // Writes what a payment does, and commits only when the order's time is over.
    let mut payment = system.pool.begin().await.unwrap();
    let pay = "with paid as (
                   update orders set status = 'CONFIRMED', confirmed_at = clock_timestamp(),
                       ticket_code = 'BMS-7K2M9Q'
                   where order_id = $1::uuid returning show_id, booking_id),
               sold as (
                   update seat_claims c set state = 'SOLD' from paid
                   where c.show_id = paid.show_id and c.booking_id = paid.booking_id)
               update bookings b set state = 'CONFIRMED', seq = seq + 1, expires_at = null
               from paid where b.show_id = paid.show_id and b.booking_id = paid.booking_id";
    sqlx::query(pay).bind(&order).execute(&mut *payment).await.unwrap();
    let path = format!("/api/v1/orders/{order}");
    let cancel_path = format!("{path}/cancel");
    let cancel = system.post(&cancel_path, &token, json!({}));
    let pay = async {
        eventually("the cancellation waits and the time is over", SOON, async || {
            let over = "select expires_at < clock_timestamp() and exists (
                            select from pg_stat_activity
                            where datname = current_database() and wait_event_type = 'Lock')
                        from orders where order_id = $1::uuid";
            let over: bool =
                sqlx::query_scalar(over).bind(&order).fetch_one(&system.pool).await.unwrap();
            over.then_some(())
        })
        .await;
        payment.commit().await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(cancel, pay);
    assert_eq!(cancelled.status, StatusCode::OK, "the show is two days away: {cancelled:?}");
    assert_eq!(cancelled.body["status"], "CANCELLED");
    for answer in [cancelled, system.get(&path, Some(&token)).await] {
        assert!(answer.body["ticketCode"].is_null(), "no code without a paid order: {answer:?}");
    }
    let ticket = system.get(&format!("{path}/ticket"), Some(&token)).await;
    assert_eq!(ticket.code(), "ORDER_NOT_CONFIRMED");
    system.stop().await;
}
