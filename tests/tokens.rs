//! Tokens that are ended early: on every node, with open sockets, and how fast.

use std::time::Duration;

use contract::{access::Role, api::catalogue::RoomMode};
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::eventually;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
use usher::{admins, seed::Admin, up::Allocation};

use crate::harness::{Plan, SOON, System};

/// Promised time until a token has ended, if the database answers.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(system: &System, path: &str, credential: &str) -> Socket {
    let url = format!("ws://{}{path}", system.address);
    let mut request = url.into_client_request().unwrap();
    let offered = format!("usher.v1, {credential}");
    request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
    tokio_tungstenite::connect_async(request).await.expect("the socket opens").0
}

/// Waits for the close of a socket; returns its time and code.
async fn closed(mut socket: Socket) -> (Instant, u16) {
    loop {
        match timeout(SOON * 3, socket.next()).await.expect("it is closed") {
            Some(Ok(Message::Close(Some(frame)))) => return (Instant::now(), frame.code.into()),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

/// The slowest of some short queries in turn: the least delay of a follower.
async fn database_alone(system: &System) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        let _: i64 = sqlx::query_scalar("select count(*) from revocations")
            .fetch_one(&system.pool)
            .await
            .unwrap();
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_within_two_seconds_on_every_node_and_open_sockets_with_them() {
    let first = System::start().await;
    let second = System::start_at(first.slot.clone(), Allocation::Elsewhere).await;
    let show = first.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let pause = json!({"mode": "FIFO", "ratePerSecond": 1.0, "burst": 1, "paused": true});
    let (_, office) = first.account(Role::Admin).await;
    let path = format!("/api/v1/shows/{show}/waiting-room");
    let paused = first.call(Method::PATCH, &path, Some(&office), &[], Some(pause)).await;
    assert_eq!(paused.status, StatusCode::OK, "{paused:?}");
    for (why, end) in [
        ("a demotion", "update accounts set role = 'user' where account_id = $1"),
        ("a new password", "update accounts set password_hash = 'y' where account_id = $1"),
        ("a deletion", "delete from accounts where account_id = $1"),
        ("log out everywhere", ""),
    ] {
        let (account, token) = first.account(Role::Admin).await;
        let (_, bystander) = first.account(Role::Admin).await;
        let slow = database_alone(&first).await;
        let bearer = format!("bearer.{token}");
        let mut open_ones = Vec::new();
        let queue = format!("/api/v1/shows/{show}/queue");
        let place = first.post(&queue, &token, json!({})).await;
        let (ticket, place_ticket) = (&place.body["ticketId"], &place.body["placeTicket"]);
        let (ticket, place_ticket) = (ticket.as_str().unwrap(), place_ticket.as_str().unwrap());
        for (n, system) in [&first, &second].into_iter().enumerate() {
            let line = format!("{queue}/{ticket}/live");
            open_ones.push((format!("notifier {n}"), open(system, "/api/v1/live", &bearer).await));
            open_ones.push((format!("waiting room {n}"), open(system, &line, &bearer).await));
        }
        let by_ticket = format!("place-ticket.{place_ticket}");
        let mut kept = open(&second, &format!("{queue}/{ticket}/live"), &by_ticket).await;
        let mut stream = first
            .http
            .get(format!("http://{}{queue}/{ticket}", second.address))
            .bearer_auth(&token)
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(stream.status(), StatusCode::OK);

        let began = Instant::now();
        if end.is_empty() {
            let out = first.post("/api/v1/auth/logout-everywhere", &token, json!({})).await;
            assert_eq!(out.status, StatusCode::NO_CONTENT, "{out:?}");
        } else {
            sqlx::query(end).bind(account.0).execute(&first.pool).await.unwrap();
        }
        let refused = async |system: &System| {
            eventually("the token is refused", SOON, async || {
                let answer = system.get("/api/v1/auth/bookings", Some(&token)).await;
                (answer.status == StatusCode::UNAUTHORIZED).then_some(())
            })
            .await;
            began.elapsed()
        };
        let ended = async {
            while timeout(SOON, stream.chunk()).await.expect("it ends").unwrap().is_some() {}
            began.elapsed()
        };
        let sockets = async {
            let mut times = Vec::new();
            let closes = open_ones.into_iter().map(|(name, socket)| async {
                let (at, code) = closed(socket).await;
                assert_eq!(code, 1008, "{name}");
                (name, at - began)
            });
            times.extend(futures_util::future::join_all(closes).await);
            times
        };
        let (at_first, at_second, streamed, sockets) =
            tokio::join!(refused(&first), refused(&second), ended, sockets);
        let bound = ENDED_WITHIN + slow * 20;
        println!(
            "{why}: refused after {at_first:?} and {at_second:?}, stream {streamed:?}, sockets {sockets:?}; bound {bound:?}"
        );
        let all = sockets.iter().map(|(_, time)| *time).chain([at_first, at_second, streamed]);
        assert!(all.max().unwrap() <= bound, "{why}");
        let other = second.get("/api/v1/auth/bookings", Some(&bystander)).await;
        assert_eq!(other.status, StatusCode::OK, "nobody else is signed out");
        let frame = timeout(SOON, kept.next()).await.unwrap().unwrap().unwrap();
        assert!(frame.is_text(), "who shows the place's own ticket stays: {frame:?}");
    }
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_does_not_outlive_its_token() {
    let system = System::start().await;
    let (account, _) = system.account(Role::User).await;
    let keys = contract::access::AccessKeys::new(&system.slot.master_key());
    let caller = contract::access::Caller { account, role: Role::User };
    let token = keys.issue(caller, platform::clock::now() + Duration::from_secs(3));
    let socket = open(&system, "/api/v1/live", &format!("bearer.{token}")).await;
    let (_, code) = closed(socket).await;
    assert_eq!(code, 1008);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registered_the_seeded_address_first_is_made_no_admin() {
    let system = System::start().await;
    let master = system.slot.master_key();
    let client = loadtest::Client::new(&format!("http://{}", system.address)).unwrap();
    let taken = ["admin@usher.example".to_owned(), Admin::address(&master)];
    for email in &taken {
        let body = json!({"name": "x", "email": email, "password": "hunter2hunter2"});
        let made = system.call(Method::POST, "/api/v1/auth/signup", None, &[], Some(body)).await;
        assert_eq!(made.status, StatusCode::CREATED);
    }
    assert!(Admin::ensure(&system.pool, &master, &client).await.is_err(), "the address is taken");
    let admins: i64 = sqlx::query_scalar("select count(*) from accounts where role = 'admin'")
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert_eq!(admins, 0);
    sqlx::query("delete from accounts where email = $1")
        .bind(&taken[1])
        .execute(&system.pool)
        .await
        .unwrap();
    for _ in 0..2 {
        let admin = Admin::ensure(&system.pool, &master, &client).await.expect("it is seeded");
        let profile: Value = admin.client.get("/auth/profile").await.unwrap();
        assert_eq!(profile["role"], "admin");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_made_by_command_and_whoever_has_the_address_already_is_not() {
    let system = System::start().await;
    let pool = &system.pool;
    let post = async |path: &str, body: Value| {
        system.call(Method::POST, &format!("/api/v1{path}"), None, &[], Some(body)).await
    };
    let password = "correct horse battery";
    let taken = json!({"name": "Mallory", "email": "boss@example.org", "password": password});
    let squatter = post("/auth/signup", taken).await;
    assert_eq!(squatter.status, StatusCode::CREATED, "{squatter:?}");
    let refused = admins::create(pool, "Boss@Example.org", "Boss").await.unwrap_err().to_string();
    assert!(refused.contains("usher admin grant"), "{refused}");

    // The grant ends the squatter's password and every session.
    let link = admins::grant(pool, "boss@example.org").await.unwrap();
    let old = squatter.body["accessToken"].as_str().unwrap().to_owned();
    eventually("the squatter's token is refused", SOON, async || {
        let profile = system.get("/api/v1/auth/profile", Some(&old)).await;
        (profile.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let login = |password: &str| json!({"email": "boss@example.org", "password": password});
    assert_eq!(post("/auth/login", login(password)).await.status, StatusCode::UNAUTHORIZED);
    let set =
        |link: &admins::PasswordLink| json!({"token": link.token, "password": "a new passphrase"});
    assert_eq!(post("/auth/password-reset", set(&link)).await.status, StatusCode::NO_CONTENT);
    let signed_in = post("/auth/login", login("a new passphrase")).await;
    assert_eq!(signed_in.body["user"]["role"], "admin", "{signed_in:?}");

    let link = admins::create(pool, "second@example.org", "Second").await.unwrap();
    assert_eq!(post("/auth/password-reset", set(&link)).await.status, StatusCode::NO_CONTENT);
    admins::revoke(pool, "second@example.org").await.unwrap();
    assert!(admins::link(pool, "second@example.org").await.is_err(), "it is no admin any more");
    assert!(admins::create(pool, "a@x.org,b@y.org", "Two").await.is_err());
    system.stop().await;
}
