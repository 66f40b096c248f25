//! What `/readyz` says: whether this node can do its work, and what is missing.

use reqwest::StatusCode;
use serde_json::json;

use crate::running::Ingress;

#[tokio::test]
async fn a_node_that_has_everything_is_ready_and_misses_nothing() {
    let ingress = Ingress::start().await;
    let ready = ingress.get("//readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    assert_eq!(ready.body, json!({"status": "ready", "missing": []}));
    ingress.stop().await;
}

/// It accepts bookings without Redis as always: to take every node out of service for it would
/// refuse them.
#[tokio::test]
async fn a_node_without_redis_is_ready_and_names_what_it_misses() {
    let ingress = Ingress::start_without_redis().await;
    let ready = ingress.get("//readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let missing = ready.body["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{ready:?}");
    assert!(missing[0].as_str().unwrap().starts_with("redis: "), "{ready:?}");
    ingress.stop().await;
}
