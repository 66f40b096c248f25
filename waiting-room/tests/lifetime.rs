//! How long Redis keeps the keys of a line.

use std::time::Duration;

use contract::ShowId;
use testing::eventually;
use waiting_room::testing::KEYS;

use crate::harness::{Plan, SOON, Stage};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The existing keys of a line, each with the ms until it expires.
async fn kept_for(stage: &Stage, show: ShowId) -> Vec<(&'static str, i64)> {
    let mut redis = stage.redis.clone();
    let mut pipeline = redis::pipe();
    for name in KEYS {
        pipeline.cmd("PTTL").arg(Stage::key(show, name));
    }
    let left: Vec<i64> = pipeline.query_async(&mut redis).await.unwrap();
    // -2 for a key that does not exist, -1 for a key without expiry.
    KEYS.into_iter().zip(left).filter(|(_, left)| *left != -2).collect()
}

/// Waits until all keys expire in this many hours, less some minutes.
async fn are_kept_for(stage: &Stage, show: ShowId, hours: i64) {
    let range = hours * HOUR_MS - 5 * 60_000..hours * HOUR_MS;
    eventually("its keys are kept for as long as they are needed", SOON, || async {
        let kept = kept_for(stage, show).await;
        (kept.len() >= 8 && kept.iter().all(|(_, left)| range.contains(left))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_keys_of_a_line_go_a_day_after_its_sale_whether_anybody_tends_it_or_not() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { closes_in: 7200, paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.join(0, show).await;
    stage.leave(0, &visitor).await;
    are_kept_for(&stage, show, 26).await;
    // The sale is made longer.
    stage.set(show, "sale_closes_at = now() + interval '5 hours'").await;
    are_kept_for(&stage, show, 29).await;
    // The sale ends early.
    stage.set(show, "sale_state = 'CLOSED'").await;
    are_kept_for(&stage, show, 24).await;
}

#[tokio::test]
async fn how_a_place_ended_is_forgotten_a_day_later_though_the_line_lives() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = Vec::new();
    for _ in 0..3 {
        visitors.push(stage.join(0, show).await);
    }
    for visitor in &visitors[..2] {
        stage.leave(0, visitor).await;
    }
    let mut redis = stage.redis.clone();
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let () = redis::cmd("ZADD")
        .arg(Stage::key(show, "ended_at"))
        .arg(seconds * 1000 - DAY_MS - 1000)
        .arg(visitors[0].ticket.to_string())
        .query_async(&mut redis)
        .await
        .unwrap();
    let remembered = async || {
        let mut redis = stage.redis.clone();
        let ended: Vec<String> = redis::cmd("HKEYS")
            .arg(Stage::key(show, "ended"))
            .query_async(&mut redis)
            .await
            .unwrap();
        ended
    };
    eventually("the older end is forgotten", SOON, || async {
        (remembered().await.len() == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(remembered().await, [visitors[1].ticket.to_string()], "the younger one is not");
}
