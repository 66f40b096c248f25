//! What `/readyz` says: whether this node can do its work, and what is missing.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::Value;
use testing::eventually;

use crate::running::{Ingress, NO_REDIS};

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
    let ingress = Ingress::start_with_redis(NO_REDIS).await;
    let missing = missing(&ingress).await;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].as_str().unwrap().starts_with("redis: "), "{missing:?}");
    ingress.stop().await;
}

/// A Redis that has no memory left and may forget nothing. It answers all the same.
struct FullRedis {
    process: Child,
    url: String,
}

impl FullRedis {
    fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""])
            .args(["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: ./dev services installs it");
        Self { process, url: format!("redis://{address}/0") }
    }
}

impl Drop for FullRedis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_missed() {
    let redis = FullRedis::start();
    let ingress = Ingress::start_with_redis(&redis.url).await;
    eventually("redis says that it is full", READY_WAIT, async || {
        let missing = missing(&ingress).await;
        missing.iter().any(|why| why.to_string().contains("maxmemory")).then_some(())
    })
    .await;
    ingress.stop().await;
}
