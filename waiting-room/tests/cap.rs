//! The cap: never more valid passes than it allows, also where Redis or PostgreSQL fails in between.

use contract::{ShowId, api::line::PlaceState};
use testing::eventually;

use crate::harness::{Plan, SOON, Stage, measure, measured};

/// The admitted visitors whom Redis counts, each with the time until which it does.
async fn counted(stage: &Stage, show: ShowId) -> Vec<(String, f64)> {
    let mut redis = stage.redis.clone();
    let mut range = redis::cmd("ZRANGE");
    range.arg(Stage::key(show, "active")).arg(0).arg(-1).arg("WITHSCORES");
    range.query_async(&mut redis).await.unwrap()
}

#[tokio::test]
async fn nobody_is_admitted_after_a_loss_before_the_admitted_are_counted_again() {
    measure();
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { max_active: Some(2), paused: false, ..Plan::default() }).await;
    for _ in 0..2 {
        let visitor = stage.join(0, show).await;
        stage.until(0, &visitor, PlaceState::Admitted).await;
    }
    let next = stage.join(0, show).await;
    // The log cannot be read when the line is opened again.
    let mut locked = stage.pool.begin().await.unwrap();
    sqlx::query("lock table admissions").execute(&mut *locked).await.unwrap();
    stage.lose(show).await;
    eventually("counting the admitted has failed", SOON, || async {
        (measured("usher_line_round_failed_total", "") >= 1.0).then_some(())
    })
    .await;
    locked.rollback().await.unwrap();
    eventually("the one who waits is back", SOON, || async {
        stage.ask(0, &next).await.status.is_success().then_some(())
    })
    .await;
    eventually("the admitted are counted again, or others are admitted", SOON, || async {
        let is_counted = counted(&stage, show).await.len() == 2;
        (is_counted || stage.admitted(show).await.len() > 2).then_some(())
    })
    .await;
    eventually("the bucket could let somebody in", SOON, || async {
        let mut redis = stage.redis.clone();
        let key = Stage::key(show, "bucket");
        let tokens: Option<f64> =
            redis::cmd("HGET").arg(key).arg("tokens").query_async(&mut redis).await.unwrap();
        tokens.filter(|tokens| *tokens >= 1.0)
    })
    .await;
    assert_eq!(stage.admitted(show).await.len(), 2, "the cap is two");
    stage.set(show, "room_max_active = 3").await;
    stage.until(0, &next, PlaceState::Admitted).await;
}
