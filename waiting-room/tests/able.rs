//! Readiness of the waiting room, and the metric of a Redis that may evict keys.

use std::time::Duration;

use contract::api::line::PlaceState;
use futures_util::future::join_all;
use serde_json::Value;
use testing::eventually;
use tokio::time::Instant;

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

#[tokio::test]
async fn questions_about_passes_do_not_keep_a_node_from_its_board() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    let mut locked = stage.pool.begin().await.unwrap();
    sqlx::query("lock table admissions").execute(&mut *locked).await.unwrap();
    let until = Instant::now() + Duration::from_secs(9);
    // 80 a second, so that a place in the pool is always waited for.
    let questions = (0..720).map(|turn| {
        let (stage, visitor) = (&stage, &visitor);
        async move {
            tokio::time::sleep(Duration::from_millis(turn * 12)).await;
            stage.ask(0, visitor).await;
        }
    });
    let looks = async {
        let mut unready = 0;
        while Instant::now() < until {
            // An idle transaction would be ended.
            sqlx::query("select pg_sleep(0.2)").execute(&mut *locked).await.unwrap();
            unready += u32::from(readiness(&stage).await.0 != 200);
        }
        unready
    };
    let (unready, _) = tokio::join!(looks, join_all(questions));
    assert_eq!(unready, 0, "the board was read all the time");
    locked.rollback().await.unwrap();
}
