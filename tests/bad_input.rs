//! What clients and strangers may send: each gets the answer that was promised, and none of it
//! reaches a queue.

use std::time::Duration;

use contract::{
    AccountId, BookingId,
    booking::{Kind, Wish},
    message::{BookingRequested, Envelope},
    topology::{PARKED, REQUESTS},
};
use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::testing::eventually;

use crate::harness::{Plan, SOON, System};

/// One raw request for a booking.
async fn raw(
    system: &System,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> (StatusCode, String) {
    let url = format!("http://{}/api/v1/bookings", system.address);
    let mut request = system.http.post(url).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("the system answers");
    let status = response.status();
    let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let body: serde_json::Value = response.json().await.expect("an error is JSON");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{body}");
    assert!(body["requestId"].is_string() && body["detail"].is_string(), "{body}");
    (status, body["code"].as_str().unwrap().to_owned())
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_the_promised_problem_and_reach_no_queue() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let good = format!(r#"{{"showId":"{show}","tier":"STANDARD","quantity":1}}"#);
    let with = |rest: &str| format!(r#"{{"showId":"{show}","tier":"STANDARD",{rest}}}"#);
    let deep = format!(r#"{{"showId":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let long_key = "k".repeat(65);
    let cases: Vec<(&str, Option<&str>, Vec<(&str, &str)>, Vec<u8>, u16, &str)> = vec![
        ("no token", None, vec![JSON], good.clone().into(), 401, "UNAUTHENTICATED"),
        (
            "a forged token",
            Some("eyJhbGciOiJub25lIn0.e30."),
            vec![JSON],
            good.clone().into(),
            401,
            "UNAUTHENTICATED",
        ),
        (
            "text",
            Some(&token),
            vec![("content-type", "text/plain")],
            good.clone().into(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("no type", Some(&token), vec![], good.clone().into(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "utf-16",
            Some(&token),
            vec![("content-type", "application/json; charset=utf-16")],
            good.clone().into(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("too long", Some(&token), vec![JSON], vec![b' '; 17 * 1024], 413, "BODY_TOO_LARGE"),
        ("truncated", Some(&token), vec![JSON], good[..20].into(), 400, "MALFORMED_JSON"),
        ("trailing", Some(&token), vec![JSON], format!("{good}x").into(), 400, "MALFORMED_JSON"),
        (
            "a BOM",
            Some(&token),
            vec![JSON],
            format!("\u{feff}{good}").into(),
            400,
            "MALFORMED_JSON",
        ),
        (
            "invalid UTF-8",
            Some(&token),
            vec![JSON],
            b"{\"showId\":\"\xff\"}".to_vec(),
            400,
            "MALFORMED_JSON",
        ),
        (
            "a lone surrogate",
            Some(&token),
            vec![JSON],
            br#"{"showId":"\ud800"}"#.to_vec(),
            400,
            "MALFORMED_JSON",
        ),
        ("too deep", Some(&token), vec![JSON], deep.into(), 400, ""),
        ("empty", Some(&token), vec![JSON], Vec::new(), 400, "MALFORMED_JSON"),
        ("an array", Some(&token), vec![JSON], b"[]".to_vec(), 400, "VALIDATION_FAILED"),
        (
            "a key twice",
            Some(&token),
            vec![JSON],
            with(r#""quantity":1,"quantity":2"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "an unknown field",
            Some(&token),
            vec![JSON],
            with(r#""quantity":1,"__proto__":{}"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "text for a number",
            Some(&token),
            vec![JSON],
            with(r#""quantity":"2""#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        ("1e400", Some(&token), vec![JSON], with(r#""quantity":1e400"#).into(), 400, ""),
        ("NaN", Some(&token), vec![JSON], with(r#""quantity":NaN"#).into(), 400, "MALFORMED_JSON"),
        (
            "2^63",
            Some(&token),
            vec![JSON],
            with(r#""quantity":9223372036854775808"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "none",
            Some(&token),
            vec![JSON],
            with(r#""quantity":0"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "minus one",
            Some(&token),
            vec![JSON],
            with(r#""quantity":-1"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "one and a half",
            Some(&token),
            vec![JSON],
            with(r#""quantity":1.5"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "neither",
            Some(&token),
            vec![JSON],
            with(r#""seats":null"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "both",
            Some(&token),
            vec![JSON],
            with(r#""seats":["A1"],"quantity":1"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "a seat twice",
            Some(&token),
            vec![JSON],
            with(r#""seats":["A1","A1"]"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "no seats",
            Some(&token),
            vec![JSON],
            with(r#""seats":[]"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "a strange seat",
            Some(&token),
            vec![JSON],
            with(r#""seats":["'; drop table seats"]"#).into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "an unknown seat",
            Some(&token),
            vec![JSON],
            with(r#""seats":["Z99"]"#).into(),
            422,
            "SEAT_UNKNOWN",
        ),
        (
            "an unknown tier",
            Some(&token),
            vec![JSON],
            good.replace("STANDARD", "ROYAL").into(),
            422,
            "SEAT_UNKNOWN",
        ),
        (
            "a bad tier",
            Some(&token),
            vec![JSON],
            good.replace("STANDARD", "royal").into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "an unknown show",
            Some(&token),
            vec![JSON],
            good.replace(&show.to_string(), &AccountId::new().to_string()).into(),
            404,
            "SHOW_NOT_FOUND",
        ),
        (
            "no show's id",
            Some(&token),
            vec![JSON],
            good.replace(&show.to_string(), "premiere").into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "over the limit",
            Some(&token),
            vec![JSON],
            with(r#""quantity":11"#).into(),
            422,
            "LIMIT_EXCEEDED",
        ),
        (
            "an empty key",
            Some(&token),
            vec![JSON, ("idempotency-key", "")],
            good.clone().into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "a long key",
            Some(&token),
            vec![JSON, ("idempotency-key", &long_key)],
            good.clone().into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "a key with a space",
            Some(&token),
            vec![JSON, ("idempotency-key", "a b")],
            good.clone().into(),
            400,
            "VALIDATION_FAILED",
        ),
        (
            "a strange wait",
            Some(&token),
            vec![JSON, ("prefer", "wait=soon")],
            good.clone().into(),
            400,
            "VALIDATION_FAILED",
        ),
        ("form before account", None, vec![JSON], b"{".to_vec(), 400, "MALFORMED_JSON"),
    ];
    for (what, token, headers, body, status, code) in cases {
        let (got, got_code) = raw(&system, token, &headers, body).await;
        assert_eq!(got.as_u16(), status, "{what}: {got_code}");
        assert!(code.is_empty() || got_code == code, "{what}: {got_code}");
    }
    let decided: i64 = sqlx::query_scalar("select count(*) from bookings where show_id = $1")
        .bind(show.0)
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert_eq!(decided, 0, "nothing of it was taken in");
    let fine =
        system.book(&token, json!({"showId": show, "tier": "STANDARD", "quantity": 1})).await;
    assert_eq!(fine.body["status"], "ALLOCATED", "and the good one still works: {fine:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_yours_is_not_there() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (token, stranger) = (system.visitor().await, system.visitor().await);
    let booked =
        system.book(&token, json!({"showId": show, "tier": "STANDARD", "quantity": 1})).await;
    let booking = booked.body["bookingId"].as_str().unwrap().to_owned();
    let order = booked.body["order"]["orderId"].as_str().unwrap().to_owned();
    let reference = booked.body["order"]["reference"].as_str().unwrap().to_owned();
    for path in [
        format!("/api/v1/bookings/{booking}"),
        format!("/api/v1/bookings/{}", AccountId::new()),
        format!("/api/v1/orders/{order}"),
        format!("/api/v1/orders/{order}/ticket"),
        format!("/api/v1/holds/{booking}"),
        format!("/api/v1/bookings/reference/{reference}"),
        "/api/v1/bookings/reference/%00".to_owned(),
    ] {
        let answer = system.get(&path, Some(&stranger)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
        let anonymous = system.get(&path, None).await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED, "{path}: {anonymous:?}");
    }
    for call in ["confirm-payment", "cancel"] {
        let path = format!("/api/v1/orders/{order}/{call}");
        let answer = system.post(&path, &stranger, json!({"method": "mock"})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{call}: {answer:?}");
    }
    let bad = system.get("/api/v1/bookings/not-an-id", Some(&token)).await;
    assert_eq!((bad.status, bad.code()), (StatusCode::BAD_REQUEST, "VALIDATION_FAILED"));
    let strange = system.call(Method::PATCH, "/api/v1/bookings", Some(&token), &[], None).await;
    assert_eq!((strange.status.as_u16(), strange.code()), (405, "METHOD_NOT_ALLOWED"));
    let nowhere = system.get("/api/v1/nowhere", None).await;
    assert_eq!((nowhere.status.as_u16(), nowhere.code()), (404, "NOT_FOUND"));
    assert_eq!(system.get(&format!("/api/v1/bookings/{booking}"), Some(&token)).await.status, 200);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_on_the_queue_are_parked_and_their_bookings_answered() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(contract::access::Role::User).await;
    let key = format!("{show}.STANDARD");
    let broker = Connection::connect(&system.slot.amqp_url, ConnectionProperties::default());
    let broker = broker.await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let publish = async |exchange: &str, body: &[u8]| {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let sent =
            channel.basic_publish(exchange.into(), key.as_str().into(), options, body, properties);
        sent.await.unwrap().await.unwrap();
    };
    let request = |account_id, wish| BookingRequested {
        booking_id: BookingId::new(),
        account_id,
        kind: Kind::Order,
        wish,
        idempotency_key: None,
        ticket_id: None,
        deadline: platform::clock::now() + Duration::from_mins(10),
        traceparent: None,
        attempt: 0,
    };
    let envelope =
        |v, bookings| Envelope { v, show_id: show, tier: "STANDARD".parse().unwrap(), bookings };
    let foreign = request(account, Wish::BestAvailable(1));
    let late = BookingRequested {
        deadline: platform::clock::now() - Duration::from_mins(1),
        ..request(account, Wish::BestAvailable(1))
    };
    let ghost = request(AccountId::new(), Wish::BestAvailable(1));
    let nowhere = request(account, Wish::Seats(vec!["Z9".parse().unwrap()]));
    let neighbour = request(account, Wish::BestAvailable(1));
    let tired = BookingRequested { attempt: 4, ..request(account, Wish::BestAvailable(1)) };
    publish(REQUESTS, b"\xff\xfenot json").await;
    publish(REQUESTS, br#"{"v":1}"#).await;
    publish(REQUESTS, &envelope(9, vec![foreign.clone()]).encode()).await;
    publish(REQUESTS, &vec![b'x'; 65_000]).await;
    let mixed = vec![late.clone(), ghost.clone(), nowhere.clone(), neighbour.clone()];
    publish(REQUESTS, &envelope(1, mixed).encode()).await;
    publish(PARKED, &envelope(1, vec![tired.clone()]).encode()).await;

    for (request, status, reason) in [
        (&foreign, "REJECTED", Some("INTERNAL")),
        (&late, "REJECTED", Some("EXPIRED")),
        (&ghost, "REJECTED", Some("INTERNAL")),
        (&nowhere, "REJECTED", Some("INTERNAL")),
        (&neighbour, "ALLOCATED", None),
        (&tired, "REJECTED", Some("INTERNAL")),
    ] {
        let id = request.booking_id;
        let row = eventually("the booking has an outcome", SOON, async || {
            sqlx::query_as::<_, (String, Option<String>)>(
                "select status::text, reason::text from bookings where booking_id = $1",
            )
            .bind(id.0)
            .fetch_optional(&system.pool)
            .await
            .unwrap()
        })
        .await;
        assert_eq!((row.0.as_str(), row.1.as_deref()), (status, reason));
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from parked_messages")
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert_eq!(kept, 4, "each message that cannot be understood is kept once");
    let fine =
        system.book(&token, json!({"showId": show, "tier": "STANDARD", "quantity": 1})).await;
    assert_eq!(fine.body["status"], "ALLOCATED", "the queue goes on: {fine:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
