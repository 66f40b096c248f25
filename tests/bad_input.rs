//! What clients and strangers may send: each gets the answer that was promised, and none of it
//! reaches a queue.

use std::time::Duration;

use contract::{
    AccountId, BookingId, ShowId,
    booking::{Kind, Wish},
    message::{BookingRequested, Envelope},
    topology::{PARKED, REQUESTS},
};
use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::testing::eventually;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

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

/// A body, and the answer it gets from somebody who is signed in.
struct Case {
    what: &'static str,
    body: Vec<u8>,
    status: u16,
    /// Empty where the parser decides which of two codes it is.
    code: &'static str,
}

fn case(what: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case { what, body: body.into(), status, code }
}

/// A good request for a seat of this show.
fn good(show: ShowId) -> String {
    with(show, r#""quantity":1"#)
}

fn with(show: ShowId, rest: &str) -> String {
    format!(r#"{{"showId":"{show}","tier":"STANDARD",{rest}}}"#)
}

/// Bodies that are not JSON, or not of one piece.
fn broken_bodies(show: ShowId) -> Vec<Case> {
    let good = good(show);
    let deep = format!(r#"{{"showId":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    vec![
        case("too long", vec![b' '; 17 * 1024], 413, "BODY_TOO_LARGE"),
        case("truncated", &good[..20], 400, "MALFORMED_JSON"),
        case("trailing", format!("{good}x"), 400, "MALFORMED_JSON"),
        case("a BOM", format!("\u{feff}{good}"), 400, "MALFORMED_JSON"),
        case("invalid UTF-8", &b"{\"showId\":\"\xff\"}"[..], 400, "MALFORMED_JSON"),
        case("a lone surrogate", r#"{"showId":"\ud800"}"#, 400, "MALFORMED_JSON"),
        case("too deep", deep, 400, ""),
        case("empty", "", 400, "MALFORMED_JSON"),
        case("an array", "[]", 400, "VALIDATION_FAILED"),
        case("NaN", with(show, r#""quantity":NaN"#), 400, "MALFORMED_JSON"),
        case("1e400", with(show, r#""quantity":1e400"#), 400, ""),
    ]
}

/// Bodies of the wrong shape or with values out of range.
fn misshapen_bodies(show: ShowId) -> Vec<Case> {
    let wrong = |what, rest| case(what, with(show, rest), 400, "VALIDATION_FAILED");
    let instead = |of: &str, text: &str| good(show).replace(of, text);
    let id = show.to_string();
    vec![
        wrong("a key twice", r#""quantity":1,"quantity":2"#),
        wrong("an unknown field", r#""quantity":1,"__proto__":{}"#),
        wrong("text for a number", r#""quantity":"2""#),
        wrong("2^63", r#""quantity":9223372036854775808"#),
        wrong("none", r#""quantity":0"#),
        wrong("minus one", r#""quantity":-1"#),
        wrong("one and a half", r#""quantity":1.5"#),
        wrong("neither", r#""seats":null"#),
        wrong("both", r#""seats":["A1"],"quantity":1"#),
        wrong("a seat twice", r#""seats":["A1","A1"]"#),
        wrong("no seats", r#""seats":[]"#),
        wrong("a strange seat", r#""seats":["'; drop table seats"]"#),
        case("a bad tier", instead("STANDARD", "royal"), 400, "VALIDATION_FAILED"),
        case("no show's id", instead(&id, "premiere"), 400, "VALIDATION_FAILED"),
        case("an unknown seat", with(show, r#""seats":["Z99"]"#), 422, "SEAT_UNKNOWN"),
        case("an unknown tier", instead("STANDARD", "ROYAL"), 422, "SEAT_UNKNOWN"),
        case("over the limit", with(show, r#""quantity":11"#), 422, "LIMIT_EXCEEDED"),
        case("an unknown show", instead(&id, &ShowId::new().to_string()), 404, "SHOW_NOT_FOUND"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_the_promised_problem_and_reach_no_queue() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    for case in broken_bodies(show).into_iter().chain(misshapen_bodies(show)) {
        let (status, code) = raw(&system, Some(&token), &[JSON], case.body).await;
        assert_eq!(status.as_u16(), case.status, "{}: {code}", case.what);
        assert!(case.code.is_empty() || code == case.code, "{}: {code}", case.what);
    }
    let forged = "eyJhbGciOiJub25lIn0.e30.";
    for (what, token, body, code) in [
        ("no token", None, good(show), "UNAUTHENTICATED"),
        ("a forged token", Some(forged), good(show), "UNAUTHENTICATED"),
        ("form before account", None, "{".to_owned(), "MALFORMED_JSON"),
    ] {
        assert_eq!(raw(&system, token, &[JSON], body).await.1, code, "{what}");
    }
    let long_key = "k".repeat(65);
    for (what, headers, status) in [
        ("text", vec![("content-type", "text/plain")], 415),
        ("no type", vec![], 415),
        ("utf-16", vec![("content-type", "application/json; charset=utf-16")], 415),
        ("an empty key", vec![JSON, ("idempotency-key", "")], 400),
        ("a long key", vec![JSON, ("idempotency-key", &long_key)], 400),
        ("a key with a space", vec![JSON, ("idempotency-key", "a b")], 400),
        ("a strange wait", vec![JSON, ("prefer", "wait=soon")], 400),
    ] {
        let (got, code) = raw(&system, Some(&token), &headers, good(show)).await;
        assert_eq!(got.as_u16(), status, "{what}: {code}");
    }
    let decided: i64 = sqlx::query_scalar("select count(*) from bookings where show_id = $1")
        .bind(show.0)
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert_eq!(decided, 0, "nothing of it was taken in");
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let fine = system.book(&token, body).await;
    assert_eq!(fine.body["status"], "ALLOCATED", "and the good one still works: {fine:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_slowly_is_not_waited_for_and_harms_nobody() {
    let system = System::start().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut socket = TcpStream::connect(system.address).await.unwrap();
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        slow.push(socket);
    }
    let mut body = TcpStream::connect(system.address).await.unwrap();
    let token = system.visitor().await;
    let head = format!(
        "POST /api/v1/bookings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    body.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(system.get("/healthz", None).await.status, StatusCode::OK);
    for mut socket in slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(SOON, socket.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "headers that never end are given up");
    }
    let mut answer = vec![0; 64];
    let n = tokio::time::timeout(2 * SOON, body.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "a body that never ends is given up: {answer}");
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
