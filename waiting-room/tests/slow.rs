//! With a slow Redis, requests that do not need Redis stay fast.

use std::time::Duration;

use contract::{AccountId, api::catalogue::RoomMode};
use reqwest::Method;
use testing::{eventually, proxy::Mode};
use tokio::time::Instant;

use crate::harness::{Plan, SOON, Stage};

/// A delay longer than the longest wait for an answer.
const SLOW: Duration = Duration::from_secs(2);

#[tokio::test]
async fn when_redis_is_slow_nothing_else_is() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let off = stage.show(Plan { mode: RoomMode::Off, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    socket.frame_of("position").await;
    stage.proxy.set(Mode::Slow(SLOW));
    let refused = eventually("redis is missed", SOON, || async {
        let answer = stage.ask(0, &visitor).await;
        (answer.code() == "LINE_UNAVAILABLE").then_some(answer)
    })
    .await;
    assert!(refused.headers.contains_key("retry-after"));
    for _ in 0..5 {
        let started = Instant::now();
        socket.frame().await;
        assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());

        let started = Instant::now();
        let elsewhere = stage.post_queue(0, off, &stage.token(AccountId::new())).await;
        assert_eq!(elsewhere.status.as_u16(), 201);
        let unknown = format!("/shows/{}/queue", contract::ShowId::new());
        let token = stage.token(AccountId::new());
        let unknown = stage.call(0, Method::POST, &unknown, Some(&token), None).await;
        assert_eq!(unknown.code(), "SHOW_NOT_FOUND");
        assert!(started.elapsed() < Duration::from_millis(250), "{:?}", started.elapsed());

        let started = Instant::now();
        let joining = stage.post_queue(0, show, &stage.token(AccountId::new())).await;
        assert_eq!(joining.code(), "LINE_UNAVAILABLE", "{}", joining.body);
        assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    }
    stage.proxy.heal();
    socket.frame_of("position").await;
    eventually("the line can be joined again", SOON, || async {
        let answer = stage.post_queue(0, show, &stage.token(AccountId::new())).await;
        answer.status.is_success().then_some(())
    })
    .await;
    assert_eq!(stage.look(0, &visitor).await.position, Some(1));
}
