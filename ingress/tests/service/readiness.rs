//! `/readyz` of ingress: whether the node can do its work, and what is missing.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::Value;
use testing::eventually;

use crate::running::{Ingress, NO_REDIS};

/// Longest wait to be ready: the broker is connected after the start.
const READY_WAIT: Duration = Duration::from_secs(10);

/// The dependencies that are missing once the node is ready.
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

/// Ingress accepts bookings without Redis; if it were not ready, every node would be taken out of
/// service and no booking accepted.
#[tokio::test]
async fn a_node_without_redis_is_ready_and_names_what_it_misses() {
    let ingress = Ingress::start_with_redis(NO_REDIS).await;
    let missing = missing(&ingress).await;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].as_str().unwrap().starts_with("redis: "), "{missing:?}");
    ingress.stop().await;
}

/// A Redis that is full and may not evict keys. It still answers.
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
