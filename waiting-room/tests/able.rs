//! Readiness of the waiting room, and the metric of a Redis that may evict keys.

use std::time::Duration;

use serde_json::Value;
use testing::eventually;

use crate::{
    harness::{Plan, SOON, Stage, measure, measured},
    own_redis::OwnRedis,
};

async fn readiness(stage: &Stage) -> (u16, Value) {
    let url = format!("http://{}/readyz", stage.nodes[0]);
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn is_ready(stage: &Stage, wanted: bool) -> Value {
    eventually("readiness follows the store", SOON, || async {
        let (status, body) = readiness(stage).await;
        ((status == 200) == wanted).then_some(body)
    })
    .await
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_seen_in_readiness() {
    let (mut master, redis) = (OwnRedis::start().await, OwnRedis::start().await);
    let stage = Stage::on(1, &redis.url()).await;
    let show = stage.show(Plan::default()).await;
    stage.join(0, show).await;
    is_ready(&stage, true).await;
    // Redis is full and may not evict keys.
    redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let body = is_ready(&stage, false).await;
    assert!(body.to_string().contains("redis"), "{body}");
    redis.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    is_ready(&stage, true).await;
    // Redis is a replica now, and so read-only.
    let (host, port) = (master.address.ip().to_string(), master.address.port().to_string());
    redis.tell(&["REPLICAOF", &host, &port]).await;
    is_ready(&stage, false).await;
    redis.tell(&["REPLICAOF", "NO", "ONE"]).await;
    is_ready(&stage, true).await;
    master.kill();
}

#[tokio::test]
async fn a_redis_that_may_forget_is_named() {
    measure();
    let redis = OwnRedis::start().await;
    redis.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    redis.tell(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let _stage = Stage::on(1, &redis.url()).await;
    eventually("it is measured", Duration::from_secs(10), || async {
        (measured("usher_redis_may_evict", "allkeys-lru") > 0.0).then_some(())
    })
    .await;
    redis.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    eventually("it is mended", Duration::from_secs(30), || async {
        (measured("usher_redis_may_evict", "") < 1.0).then_some(())
    })
    .await;
}
