//! No secret is in the log, even at the most verbose level.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use contract::api::line::PlaceState;
use reqwest::Method;
use testing::eventually;

use crate::harness::{Plan, SOON, Stage};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level() {
    let mut stage = Stage::new(0).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name = format!("usher-test-log-{}", uuid::Uuid::new_v4());
    let path = std::env::temp_dir().join(name);
    let mut process = Process(
        Command::new(env!("CARGO_BIN_EXE_waiting-room"))
            .envs(stage.slot.environment())
            .env("USHER_WAITING_ROOM_LISTEN", address.to_string())
            .env("USHER_METRICS_LISTEN", "127.0.0.1:0")
            .env("USHER_LOG", "trace")
            .stderr(Stdio::from(std::fs::File::create(&path).unwrap()))
            .spawn()
            .unwrap(),
    );
    stage.nodes.push(address);
    eventually("it is ready", SOON, || async {
        let answer = reqwest::get(format!("http://{address}/readyz")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    socket.frame_of("position").await;
    let bearer = format!("usher.v1, bearer.{}", visitor.token);
    let headers = [("sec-websocket-protocol", bearer.as_str())];
    let mut second = stage.connect(0, &visitor, "", &headers).await.unwrap();
    second.frame_of("position").await;
    let told = stage.look(0, &visitor).await.place_ticket;
    stage.set(show, "room_paused = false").await;
    let pass = socket.frame_of("admitted").await["pass"].as_str().unwrap().to_owned();
    let polled = stage.until(0, &visitor, PlaceState::Admitted).await.pass.unwrap();
    stage.leave(0, &visitor).await;
    let path_of_queue = format!("/shows/{show}/queue");
    let body = format!("{{\"placeTicket\": \"{told}\"}}");
    stage.call(0, Method::POST, &path_of_queue, Some(&visitor.token), Some(&body)).await;
    let pid = process.0.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    process.0.wait().unwrap();

    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // An empty log would prove nothing.
    assert!(log.contains("INFO"), "{log}");
    let database = &stage.slot.database_url;
    let (_, rest) = database.split_once("://").unwrap();
    let (_, password) = rest.split_once('@').unwrap().0.split_once(':').unwrap();
    for (what, secret) in [
        ("access token", visitor.token.as_str()),
        ("place ticket", &visitor.place_ticket),
        ("place ticket that was told later", &told),
        ("pass of the socket", &pass),
        ("pass of an answer", &polled),
        ("master key", &stage.slot.master_key_text),
        ("password of the database", password),
    ] {
        // Only the last third is searched for, since the beginning is the same in all tokens.
        let end = &secret[secret.len() - secret.len() / 3..];
        let line = log.lines().find(|line| line.contains(end));
        assert!(line.is_none(), "the {what} is in the log: {line:?}");
    }
}
