//! Watching a place over sockets and event streams.

use contract::api::line::PlaceState;
use futures_util::StreamExt as _;
use testing::eventually;
use tokio::{net::TcpSocket, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Plan, SOON, Stage, measure, measured};

#[tokio::test]
async fn a_watcher_counts_down_and_is_admitted() {
    measure();
    let stage = Stage::new(2).await;
    let show = stage.show(Plan { rate: 8.0, burst: 1, ..Plan::default() }).await;
    let mut ahead = Vec::new();
    for _ in 0..12 {
        ahead.push(stage.join(0, show).await);
    }
    let last = stage.join(1, show).await;
    let mut socket = stage.watch(1, &last).await;
    assert_eq!(socket.protocol.as_deref(), Some("usher.v1"));
    let first = socket.frame().await;
    assert_eq!(first["type"], "position");
    assert_eq!((first["position"].as_u64(), first["ahead"].as_u64()), (Some(13), Some(12)));
    assert_eq!(first["waiting"], 13);
    assert!(first["etaSeconds"].is_null());
    assert_eq!(socket.frame().await["type"], "paused");
    stage.set(show, "room_paused = false").await;
    socket.frame_of("resumed").await;
    let mut shown = 13;
    loop {
        let frame = socket.frame().await;
        if frame["type"] == "admitted" {
            assert!(frame["pass"].is_string());
            break;
        }
        let position = frame["position"].as_u64().unwrap();
        assert!(position <= shown, "{position} after {shown}");
        assert!(frame["etaSeconds"]["low"].as_u64() <= frame["etaSeconds"]["high"].as_u64());
        assert_eq!(frame["ratePerSecond"], 8.0);
        shown = position;
    }
    assert!(shown < 13, "it was told of the way");
    for label in ["shown=\"first\"", "shown=\"later\""] {
        assert!(measured("usher_line_intervals_total", label) >= 1.0, "{label} is scored");
    }
}

#[tokio::test]
async fn refused_frames_get_their_close_codes() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let long = "x".repeat(5000);
    for (message, code) in [
        (Message::text("hello"), 1008),
        (Message::text("{\"type\":\"leave\",\"now\":true}"), 1008),
        (Message::text("{\"type\":\"stay\"}"), 1008),
        (Message::binary(vec![1, 2, 3]), 1008),
        (Message::text(long), 1009),
    ] {
        let mut socket = stage.watch(0, &visitor).await;
        socket.send(message.clone()).await;
        assert_eq!(socket.close_code().await, code, "{message:?}");
    }
    let mut socket = stage.watch(0, &visitor).await;
    for _ in 0..8 {
        socket.send(Message::Ping(Vec::new().into())).await;
    }
    assert_eq!(socket.close_code().await, 1008, "a flood");
    assert_eq!(stage.look(0, &visitor).await.position, Some(1), "the place is kept");
}

#[tokio::test]
async fn upgrades_are_for_the_owner_from_a_page_we_know() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let (visitor, other) = (stage.join(0, show).await, stage.join(0, show).await);
    let ticket = format!("?placeTicket={}", visitor.place_ticket);
    let refused = async |query: &str, headers: &[(&'static str, &str)]| {
        stage.connect(0, &visitor, query, headers).await.err().map(|status| status.as_u16())
    };
    assert_eq!(refused(&ticket, &[]).await, None);
    assert_eq!(refused(&ticket, &[("origin", "https://evil.example")]).await, Some(403));
    assert_eq!(refused(&ticket, &[("origin", "null")]).await, Some(403));
    assert_eq!(refused(&ticket, &[("origin", "https://tickets.example")]).await, None);
    assert_eq!(refused("", &[]).await, Some(401));
    assert_eq!(refused("?placeTicket=forged", &[]).await, Some(401));
    assert_eq!(
        refused("", &[("authorization", &format!("Bearer {}", other.token))]).await,
        Some(404)
    );
    assert_eq!(refused("", &[("authorization", &format!("Bearer {}", visitor.token))]).await, None);
    let bearer = |token: &str| format!("usher.v1, bearer.{token}");
    let own = bearer(&visitor.token);
    assert_eq!(refused("", &[("sec-websocket-protocol", &own)]).await, None);
    let wrong = bearer("forged");
    assert_eq!(refused("", &[("sec-websocket-protocol", &wrong)]).await, Some(401));
    let foreign = format!("usher.v1, place-ticket.{}", other.place_ticket);
    assert_eq!(refused("", &[("sec-websocket-protocol", &foreign)]).await, Some(404));
    let path = format!("/shows/{show}/queue/{}/live{ticket}", visitor.ticket);
    let plain = stage.call(0, reqwest::Method::GET, &path, None, None).await;
    assert_eq!((plain.status.as_u16(), plain.code()), (426, "UPGRADE_REQUIRED"));
}

#[tokio::test]
async fn one_socket_too_many_replaces_the_oldest() {
    let stage = Stage::with(1, |line| line.sockets_per_account_max = 2).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut oldest = stage.watch(0, &visitor).await;
    oldest.frame().await;
    let mut second = stage.watch(0, &visitor).await;
    second.frame().await;
    let mut third = stage.watch(0, &visitor).await;
    assert_eq!(third.frame().await["position"], 1);
    assert_eq!(oldest.close_code().await, 4001);
    second.frame_of("position").await;
}

#[tokio::test]
async fn leaving_over_the_socket_frees_the_place_on_every_device() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let (first, second) = (stage.join(0, show).await, stage.join(0, show).await);
    let mut phone = stage.watch(0, &first).await;
    let mut laptop = stage.watch(1, &first).await;
    let mut behind = stage.watch(1, &second).await;
    assert_eq!(behind.frame().await["position"], 2);
    phone.send(Message::text("{\"type\":\"leave\"}")).await;
    assert_eq!(phone.close_code().await, 1000);
    assert_eq!(laptop.close_code().await, 1000);
    let mut position = 2;
    while position != 1 {
        position = behind.frame_of("position").await["position"].as_u64().unwrap();
    }
    assert_eq!(stage.look(1, &first).await.state, PlaceState::Left);
}

#[tokio::test]
async fn a_stream_of_events_says_the_same_as_a_socket() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let url = format!("http://{}/api/v1/shows/{show}/queue/{}", stage.nodes[0], visitor.ticket);
    let response = reqwest::Client::new()
        .get(url)
        .header("accept", "text/event-stream")
        .header("place-ticket", &visitor.place_ticket)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut bytes = Box::pin(response_chunks(response));
    let mut text = String::new();
    let mut until = async |needle: &str| {
        while !text.contains(needle) {
            let chunk = timeout(SOON, bytes.next()).await.expect("an event");
            text.push_str(&chunk.expect("the stream goes on"));
        }
    };
    until("data: {\"type\":\"position\",\"position\":1,").await;
    until("data: {\"type\":\"paused\"").await;
    stage.set(show, "room_paused = false").await;
    until("data: {\"type\":\"admitted\",\"pass\":\"").await;
}

fn response_chunks(response: reqwest::Response) -> impl futures_util::Stream<Item = String> {
    futures_util::stream::unfold(response, |mut response| async move {
        let chunk = response.chunk().await.ok()??;
        Some((String::from_utf8_lossy(&chunk).into_owned(), response))
    })
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_finds_out_why() {
    measure();
    let stage = Stage::with_send_buffer(1).await;
    let show = stage.show(Plan { seats: 0, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    let connection = TcpSocket::new_v4().unwrap();
    connection.set_recv_buffer_size(1).unwrap();
    let connection = connection.connect(stage.nodes[0]).await.unwrap();
    let mut asleep = stage.watch_over(connection, &visitor).await;
    // Each change of the gate is a frame to every watcher.
    eventually("the server gives up", SOON * 3, || async {
        stage.set(show, "room_paused = false").await;
        stage.until(0, &visitor, PlaceState::SoldOut).await;
        stage.set(show, "room_paused = true").await;
        stage.until(0, &visitor, PlaceState::Waiting).await;
        (measured("usher_line_slow_clients_total", "") > 0.0).then_some(())
    })
    .await;
    loop {
        match asleep.next().await {
            Some(Ok(Message::Close(Some(close)))) => {
                assert_eq!(u16::from(close.code), 4002);
                break;
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?} instead of a close frame"),
        }
    }
    let mut again = stage.watch(0, &visitor).await;
    assert_eq!(again.frame_of("position").await["position"], 1, "the place is kept");
}

#[tokio::test]
async fn a_node_that_stops_says_so() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    socket.frame().await;
    stage.stop_node(0);
    assert_eq!(socket.close_code().await, 1001);
}

#[tokio::test]
async fn a_node_with_as_many_sockets_as_it_can_hold_still_answers() {
    // Sockets may take all but two of 64 connections; the test's clients keep one or two open.
    let stage = Stage::with_connections(64).await;
    let show = stage.show(Plan::default()).await;
    let mut sockets = Vec::new();
    let refused = loop {
        let visitor = stage.join(0, show).await;
        let query = format!("?placeTicket={}", visitor.place_ticket);
        match stage.connect(0, &visitor, &query, &[]).await {
            Ok(socket) => sockets.push(socket),
            Err(status) => break status,
        }
        assert!(sockets.len() <= 64, "sockets count as connections");
    };
    assert_eq!(refused, 503);
    assert!(sockets.len() > 50, "{} sockets", sockets.len());
    let visitor = stage.join(0, show).await;
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::Waiting);
    sockets.truncate(40);
    eventually("there is room again", SOON, || stage.try_watch(0, &visitor)).await;
}
