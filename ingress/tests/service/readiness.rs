//! What `/readyz` says: whether this node can do its work, and what is missing.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use store::testing::eventually;

use crate::running::Ingress;

/// The broker is connected to after the start.
const READY_WAIT: Duration = Duration::from_secs(10);

/// What it misses once it is ready.
async fn missing(ingress: &Ingress) -> Vec<Value> {
    let ready = eventually("it is ready", READY_WAIT, async || {
        let answer = ingress.get("//readyz").await;
        (answer.status == StatusCode::OK).then_some(answer.body)
    })
    .await;
    assert_eq!(ready["status"], "ready");
    ready["missing"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_node_that_has_everything_is_ready_and_misses_nothing() {
    let ingress = Ingress::start().await;
    assert!(missing(&ingress).await.is_empty());
    ingress.stop().await;
}

/// It accepts bookings without Redis as always: to take every node out of service for it would
/// refuse them.
#[tokio::test]
async fn a_node_without_redis_is_ready_and_names_what_it_misses() {
    let ingress = Ingress::start_without_redis().await;
    let missing = missing(&ingress).await;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].as_str().unwrap().starts_with("redis: "), "{missing:?}");
    ingress.stop().await;
}
