//! Bookings, holds and orders: contention for seats, and all their states.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contract::{BookingId, access::Role, api::bookings::Customer};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::bookings::{self, Placement};
use testing::eventually;

use crate::harness::{Answer, Plan, SOON, System, fresh_key};

/// Longest time for four hundred bookings at once, on a busy machine.
const RUSH_OVER: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_for_forty_seats_sells_each_once_and_answers_everybody() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 4, ..Plan::default() }).await;
    let mut tokens = Vec::new();
    for _ in 0..100 {
        tokens.push(system.visitor().await);
    }
    let rush = (0..400_usize).map(|n| {
        let (token, system) = (&tokens[n % tokens.len()], &system);
        let body = if n % 2 == 0 {
            json!({"showId": show, "tier": "STANDARD", "seats": [format!("B{}", n % 10 + 1)]})
        } else {
            json!({"showId": show, "tier": "STANDARD", "quantity": n % 3 + 1})
        };
        async move { decided(system, token, system.book(token, body).await).await }
    });
    let answers = join_all(rush).await;
    let mut seats = HashSet::new();
    let mut outcomes: HashMap<String, usize> = HashMap::new();
    let mut accepted: Vec<BookingId> = Vec::new();
    for answer in &answers {
        // Ingress may refuse requests once the last seat is gone; all others were accepted.
        if answer.status != StatusCode::OK {
            assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
            assert!(matches!(answer.code(), "SOLD_OUT" | "ALL_HELD"), "{answer:?}");
            continue;
        }
        accepted.push(answer.body["bookingId"].as_str().unwrap().parse().unwrap());
        let reason = answer.body["reason"].as_str().unwrap_or("ALLOCATED").to_owned();
        *outcomes.entry(reason).or_default() += 1;
        for seat in answer.body["order"]["seatIds"].as_array().into_iter().flatten() {
            assert!(seats.insert(seat.to_string()), "{seat} was sold twice");
        }
    }
    assert_eq!(seats.len(), 40, "every seat is sold: {outcomes:?}");
    assert!(outcomes["ALLOCATED"] >= 14 && outcomes.contains_key("SEAT_TAKEN"), "{outcomes:?}");
    let audit = system.audit(&accepted).await;
    assert!(audit.is_clean(), "{audit:?}");
    system.stop().await;
}

/// The decided booking. A busy system may answer 202 first; then the outcome is asked for.
async fn decided(system: &System, token: &str, answer: Answer) -> Answer {
    if answer.status != StatusCode::ACCEPTED {
        return answer;
    }
    let path = format!("/api/v1/bookings/{}", answer.body["bookingId"].as_str().unwrap());
    eventually("the booking is decided", RUSH_OVER, async || {
        let headers = [("prefer", "wait=10")];
        let seen = system.call(Method::GET, &path, Some(token), &headers, None).await;
        (seen.status == StatusCode::OK && seen.body["status"] != "QUEUED").then_some(seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_booking_and_another_body_is_refused() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let key = fresh_key();
    let headers = [("idempotency-key", key.as_str())];
    let submit = async |body| {
        system.call(Method::POST, "/api/v1/bookings", Some(&token), &headers, Some(body)).await
    };
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 2});
    let answers = join_all((0..50).map(|_| submit(body.clone()))).await;
    let ids: HashSet<String> =
        answers.iter().map(|a| a.body["bookingId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1, "fifty times the same request");
    assert!(answers.iter().all(|a| a.status == StatusCode::ACCEPTED));
    let other = submit(json!({"showId": show, "tier": "STANDARD", "quantity": 3})).await;
    assert_eq!(other.code(), "IDEMPOTENCY_KEY_REUSED", "{other:?}");
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);

    // Without Redis's keys ingress does not recognise the repetition, but the allocator does.
    let mut redis = system.slot.redis().await;
    let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    let other = system
        .call(
            Method::POST,
            "/api/v1/bookings",
            Some(&token),
            &[("idempotency-key", key.as_str()), ("prefer", "wait=10")],
            Some(json!({"showId": show, "tier": "STANDARD", "quantity": 4})),
        )
        .await;
    assert_eq!(other.body["reason"], "IDEMPOTENCY_KEY_REUSED", "{other:?}");
    let again = submit(body).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert!(ids.contains(again.body["bookingId"].as_str().unwrap()));
    let rows = sqlx::query_scalar::<_, i64>("select count(*) from seat_claims where show_id = $1");
    assert_eq!(rows.bind(show.0).fetch_one(&system.pool).await.unwrap(), 2);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_becomes_an_order_or_is_given_back() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (token, rival) = (system.visitor().await, system.visitor().await);
    let wish = json!({"showId": show, "tier": "STANDARD", "seats": ["A1", "A2"]});
    let held = system.post("/api/v1/holds", &token, wish.clone()).await;
    assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
    assert_eq!(held.body["status"], "HELD");
    let hold = held.body["holdId"].as_str().unwrap();

    let mut redis = system.slot.redis().await;
    let key = format!("seat_lock:{{{show}}}:A1");
    let lock: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut redis).await.unwrap();
    assert_eq!(lock.as_deref(), Some(hold), "the seat lock names the booking");

    let lost = system.post("/api/v1/holds", &rival, wish.clone()).await;
    assert_eq!((lost.status, lost.code()), (StatusCode::CONFLICT, "SEAT_TAKEN"));
    assert_eq!(lost.body["takenSeats"], json!(["A1", "A2"]));
    assert_eq!(lost.body["alternatives"].as_array().unwrap().len(), 2);
    let stranger = system.get(&format!("/api/v1/holds/{hold}"), Some(&rival)).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);

    let customer = json!({"name": "Asha Rao", "email": "asha@example.org"});
    let place = json!({"holdId": hold, "customer": customer});
    let placed = system.post("/api/v1/orders", &token, place.clone()).await;
    assert_eq!(placed.status, StatusCode::CREATED, "{placed:?}");
    assert_eq!(placed.body["amount"], json!({"amount": 50_000, "currency": "INR"}));
    let again = system.post("/api/v1/orders", &token, place).await;
    assert_eq!(again.body["orderId"], placed.body["orderId"]);
    let release = format!("/api/v1/holds/{hold}");
    let refused = system.call(Method::DELETE, &release, Some(&token), &[], None).await;
    assert_eq!(refused.code(), "HOLD_ORDERED");

    let order = placed.body["orderId"].as_str().unwrap();
    let declined = format!("/api/v1/orders/{order}/confirm-payment");
    let declined = system.post(&declined, &token, json!({"method": "mock-decline"})).await;
    assert_eq!((declined.status.as_u16(), declined.code()), (402, "PAYMENT_FAILED"));
    let held = system.post("/api/v1/holds", &rival, wish).await;
    assert_eq!(held.status, StatusCode::CREATED, "a failed payment frees the seats: {held:?}");
    let release = format!("/api/v1/holds/{}", held.body["holdId"].as_str().unwrap());
    for _ in 0..2 {
        let released = system.call(Method::DELETE, &release, Some(&rival), &[], None).await;
        assert_eq!(released.status, StatusCode::NO_CONTENT);
    }
    let over = system.get(&release, Some(&rival)).await;
    assert_eq!(over.body["status"], "RELEASED");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_hold_is_lapsed_at_once_and_its_seats_come_back() {
    let system = System::start().await;
    let show = system.show(Plan { hold_seconds: 1, order_seconds: 1, ..Plan::default() }).await;
    let (token, rival) = (system.visitor().await, system.visitor().await);
    let wish = json!({"showId": show, "tier": "STANDARD", "seats": ["A1"]});
    let held = system.post("/api/v1/holds", &token, wish.clone()).await;
    let hold = held.body["holdId"].as_str().unwrap();
    let path = format!("/api/v1/holds/{hold}");
    eventually("the hold lapses", SOON, async || {
        (system.get(&path, Some(&token)).await.body["status"] == "EXPIRED").then_some(())
    })
    .await;
    // The allocator itself sees that the hold has lapsed, without the sweep.
    let taken = system.book(&rival, wish).await;
    assert_eq!(taken.body["status"], "ALLOCATED", "{taken:?}");
    let place = json!({"holdId": hold, "customer": {"name": "A", "email": "a@b.example"}});
    let late = system.post("/api/v1/orders", &token, place).await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "HOLD_EXPIRED"));
    let order = taken.body["order"]["orderId"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/orders/{order}");
    eventually("the unpaid order expires", SOON, async || {
        (system.get(&path, Some(&rival)).await.body["status"] == "EXPIRED").then_some(())
    })
    .await;
    let pay =
        system.post(&format!("{path}/confirm-payment"), &rival, json!({"method": "mock"})).await;
    assert_eq!((pay.status, pay.code()), (StatusCode::CONFLICT, "ORDER_EXPIRED"));
    eventually("the sweep frees the seat", SOON, async || {
        let show = system.get(&format!("/api/v1/shows/{show}"), None).await;
        (show.body["available"][0]["seats"] == 40).then_some(())
    })
    .await;
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_all_bookings_of_an_account_and_a_closed_sale_takes_nothing() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 3, ..Plan::default() }).await;
    let token = system.visitor().await;
    let wish = |n: u32| json!({"showId": show, "tier": "STANDARD", "quantity": n});
    let at_once = system.book(&token, wish(4)).await;
    assert_eq!((at_once.status.as_u16(), at_once.code()), (422, "LIMIT_EXCEEDED"));
    assert_eq!(system.book(&token, wish(2)).await.body["status"], "ALLOCATED");
    let over = system.book(&token, wish(2)).await;
    assert_eq!(over.body["reason"], "LIMIT_EXCEEDED", "{over:?}");
    let unknown = json!({"showId": show, "tier": "STANDARD", "seats": ["Z9"]});
    let unknown = system.book(&token, unknown).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (422, "SEAT_UNKNOWN"));

    let (_, admin) = system.account(Role::Admin).await;
    let closed = system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    assert_eq!(closed.status, StatusCode::OK, "{closed:?}");
    eventually("the door closes", SOON, async || {
        (system.book(&token, wish(1)).await.code() == "SALE_CLOSED").then_some(())
    })
    .await;
    // Publishes under way may arrive for 4 s, and a producer is sealed after 3 s.
    system.queues_are_gone(show, SOON * 3).await;
    system.stop().await;
}

/// The hold is ordered and released at the same time: the first to lock the row wins, and the other
/// is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_ordered_meanwhile_is_not_called_free() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(Role::User).await;
    let wish = json!({"showId": show, "tier": "STANDARD", "seats": ["A1"]});
    let held = system.post("/api/v1/holds", &token, wish).await;
    assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
    let hold: BookingId = held.body["holdId"].as_str().unwrap().parse().unwrap();
    let customer = Customer { name: "Asha Rao".into(), email: "a@b.example".into(), phone: None };
    let mut tx = system.pool.begin().await.unwrap();
    let placed = bookings::place(&mut tx, hold, account, &customer).await.unwrap();
    let Placement::Placed(order) = placed else { panic!("{placed:?}") };

    let path = format!("/api/v1/holds/{hold}");
    let release = system.call(Method::DELETE, &path, Some(&token), &[], None);
    let commit = async {
        eventually("the release waits for the row", SOON, async || {
            let waits = "select count(*) from pg_stat_activity
                         where datname = current_database() and wait_event_type = 'Lock'";
            let n: i64 = sqlx::query_scalar(waits).fetch_one(&system.pool).await.unwrap();
            (n > 0).then_some(())
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (released, ()) = tokio::join!(release, commit);
    assert_eq!(released.code(), "HOLD_ORDERED", "{released:?}");
    let read = system.get(&format!("/api/v1/orders/{}", order.order_id), Some(&token)).await;
    assert_eq!(read.body["status"], "PAYMENT_PENDING", "{read:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_seats_are_sold_all_the_same() {
    let system = System::start_without_redis().await;
    let show = system.show(Plan::default()).await;
    let ready = system.get("/readyz", None).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.body["detail"].as_str().unwrap().contains("redis"), "{ready:?}");
    let token = system.visitor().await;
    let key = fresh_key();
    let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=10")];
    let body = json!({"showId": show, "tier": "STANDARD", "seats": ["A1"]});
    for _ in 0..2 {
        let path = "/api/v1/bookings";
        let booked =
            system.call(Method::POST, path, Some(&token), &headers, Some(body.clone())).await;
        assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    }
    let lost = system.book(&system.visitor().await, body).await;
    assert_eq!(lost.body["reason"], "SEAT_TAKEN", "{lost:?}");
    let line = system.post(&format!("/api/v1/shows/{show}/queue"), &token, json!({})).await;
    assert!(line.status.is_success(), "a room that is off needs no line: {line:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
