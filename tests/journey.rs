//! A visitor's whole way, from joining the line to the ticket.

use std::time::Duration;

use contract::{api::catalogue::RoomMode, booking::Status};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::harness::{Plan, SOON, System};

/// The frames of a socket, as JSON.
pub(crate) type LiveSocket = std::pin::Pin<Box<dyn futures_util::Stream<Item = Value> + Send>>;

/// Opens a socket with these subprotocols and returns it once it is up.
pub(crate) async fn socket(system: &System, path: &str, protocols: &str) -> LiveSocket {
    let mut request = format!("ws://{}{path}", system.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    let (socket, response) = connect_async(request).await.expect("the upgrade is answered");
    assert_eq!(response.headers()["sec-websocket-protocol"], "usher.v1");
    Box::pin(socket.filter_map(async |message| match message {
        Ok(Message::Text(text)) => serde_json::from_str(&text).ok(),
        _ => None,
    }))
}

pub(crate) async fn frame_where(
    frames: &mut (impl futures_util::Stream<Item = Value> + Unpin),
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    frame_in(frames, SOON, wanted).await
}

/// The next frame that is `wanted`, within this time.
pub(crate) async fn frame_in(
    frames: &mut (impl futures_util::Stream<Item = Value> + Unpin),
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let search = async {
        loop {
            let frame = frames.next().await.expect("the socket stays open");
            if wanted(&frame) {
                return frame;
            }
        }
    };
    tokio::time::timeout(limit, search).await.expect("the frame comes in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_joins_watches_is_admitted_books_pays_and_holds_a_ticket() {
    let system = System::start().await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let token = system.visitor().await;

    let joined = system.post(&format!("/api/v1/shows/{show}/queue"), &token, json!({})).await;
    assert_eq!(joined.status, StatusCode::CREATED, "{joined:?}");
    let live = joined.body["liveUrl"].as_str().unwrap();
    let live = live.find("/api/").map_or(live, |at| &live[at..]);
    let ticket = joined.body["placeTicket"].as_str().unwrap();
    let mut line = socket(&system, live, &format!("usher.v1, place-ticket.{ticket}")).await;
    let admitted = frame_where(&mut line, |frame| frame["type"] == "admitted").await;
    let pass = admitted["pass"].as_str().unwrap();

    let body = json!({"showId": show, "tier": "STANDARD", "seats": ["C5", "C6"]});
    let without = system.post("/api/v1/bookings", &token, body.clone()).await;
    assert_eq!((without.status, without.code()), (StatusCode::FORBIDDEN, "PASS_REQUIRED"));
    let headers = [("admission-pass", pass)];
    let accepted =
        system.call(Method::POST, "/api/v1/bookings", Some(&token), &headers, Some(body)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    assert_eq!(accepted.body["status"], "QUEUED");
    let booking = accepted.body["bookingId"].as_str().unwrap();

    let live = accepted.body["links"]["live"].as_str().unwrap();
    let mut outcome = socket(&system, live, &format!("usher.v1, bearer.{token}")).await;
    let told = frame_where(&mut outcome, |frame| frame["status"] == "ALLOCATED").await;
    assert_eq!(told["type"], "booking");
    assert_eq!(told["bookingId"], booking);
    let order = told["order"]["orderId"].as_str().unwrap();

    let pay = format!("/api/v1/orders/{order}/confirm-payment");
    let paid = system.post(&pay, &token, json!({"method": "mock"})).await;
    assert_eq!(paid.status, StatusCode::OK, "{paid:?}");
    assert_eq!(paid.body["status"], "CONFIRMED");
    let code = paid.body["ticketCode"].as_str().unwrap();
    assert!(code.starts_with("BMS-") && code.len() == 10, "{code}");
    let again = system.post(&pay, &token, json!({"method": "mock"})).await;
    assert_eq!(again.body, paid.body, "paying twice is paying once");
    frame_where(&mut outcome, |frame| frame["order"]["status"] == "CONFIRMED").await;

    let ticket = system.get(&format!("/api/v1/orders/{order}/ticket"), Some(&token)).await;
    assert_eq!(ticket.body["ticketCode"], code);
    assert_eq!(ticket.body["movieTitle"], "The Long Monsoon");
    let mine = system.get("/api/v1/auth/bookings", Some(&token)).await;
    assert_eq!(mine.body["items"][0]["orderId"], order);
    let map = system.get(&format!("/api/v1/shows/{show}/seatmap"), None).await;
    assert_eq!(map.body["showId"], show.to_string());
    assert!(system.audit(&[booking.parse().unwrap()]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_buys_one_live_booking_and_only_for_its_account_and_show() {
    let system = System::start().await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let other_show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let (token, stranger) = (system.visitor().await, system.visitor().await);
    let joined = system.post(&format!("/api/v1/shows/{show}/queue"), &token, json!({})).await;
    let place = joined.body["ticketId"].as_str().unwrap();
    let place = format!("/api/v1/shows/{show}/queue/{place}");
    let pass = testing::eventually("the visitor is admitted", SOON, async || {
        let place = system.get(&place, Some(&token)).await;
        place.body["pass"].as_str().map(ToOwned::to_owned)
    })
    .await;
    let book = async |token: &str, show, pass: &str| {
        let headers = [("admission-pass", pass), ("prefer", "wait=10")];
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        system.call(Method::POST, "/api/v1/bookings", Some(token), &headers, Some(body)).await
    };
    for refused in [
        book(&stranger, show, &pass).await,
        book(&token, other_show, &pass).await,
        book(&token, show, &format!("{pass}x")).await,
        book(&token, show, "eyJhbGciOiJub25lIn0.e30.").await,
    ] {
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "PASS_INVALID"));
    }
    let first = book(&token, show, &pass).await;
    assert_eq!(first.body["status"], "ALLOCATED", "{first:?}");
    let second = book(&token, show, &pass).await;
    assert_eq!(second.body["status"], json!(Status::Rejected), "{second:?}");
    assert_eq!(second.body["reason"], "PASS_USED");
    let order = first.body["order"]["orderId"].as_str().unwrap();
    let cancelled = system.post(&format!("/api/v1/orders/{order}/cancel"), &token, json!({})).await;
    assert_eq!(cancelled.body["status"], "CANCELLED", "{cancelled:?}");
    let third = book(&token, show, &pass).await;
    assert_eq!(third.body["status"], "ALLOCATED", "a pass whose booking ended unpaid buys again");

    let order = third.body["order"]["orderId"].as_str().unwrap();
    let order = format!("/api/v1/orders/{order}");
    let paid =
        system.post(&format!("{order}/confirm-payment"), &token, json!({"method": "mock"})).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    let cancelled = system.post(&format!("{order}/cancel"), &token, json!({})).await;
    assert_eq!(cancelled.body["status"], "CANCELLED", "{cancelled:?}");
    let fourth = book(&token, show, &pass).await;
    assert_eq!(fourth.body["reason"], "PASS_USED", "it was paid with, so it is spent: {fourth:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_socket_refuses_strangers_and_frames() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let booked = system.book(&token, body).await;
    let booking = booked.body["bookingId"].as_str().unwrap();
    let path = format!("/api/v1/bookings/{booking}/live");
    let stranger = system.visitor().await;
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let get = |token, headers: Vec<(&'static str, &'static str)>| {
        let (system, path) = (&system, path.clone());
        async move { system.call(Method::GET, &path, token, &headers, None).await }
    };
    assert_eq!(get(None, upgrade.to_vec()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(Some(&stranger), upgrade.to_vec()).await.status, StatusCode::NOT_FOUND);
    let mut foreign = upgrade.to_vec();
    foreign.push(("origin", "https://evil.example"));
    assert_eq!(get(Some(&token), foreign).await.status, StatusCode::FORBIDDEN);
    assert!(get(Some(&token), Vec::new()).await.status.is_client_error());

    for (frame, code) in [(Message::text("hello"), 1008), (Message::text("x".repeat(8192)), 1009)] {
        let mut request = format!("ws://{}{path}", system.address).into_client_request().unwrap();
        let protocols = format!("usher.v1, bearer.{token}");
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        let (mut socket, _) = connect_async(request).await.unwrap();
        socket.send(frame).await.unwrap();
        let closed = async {
            while let Some(message) = socket.next().await {
                if let Ok(Message::Close(Some(frame))) = message {
                    return u16::from(frame.code);
                }
            }
            0
        };
        assert_eq!(tokio::time::timeout(SOON, closed).await.unwrap(), code);
    }
    system.stop().await;
}
