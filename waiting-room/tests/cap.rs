//! The cap: never more valid passes than it allows, also where Redis or PostgreSQL fails in
//! between.

use chrono::{DateTime, TimeDelta, Utc};
use contract::{ShowId, api::line::PlaceState};
use testing::eventually;
use tokio::time::Instant;

use crate::harness::{Plan, SOON, Stage, Visitor, measure, measured};

/// The admitted visitors whom Redis counts, each with the time until which it does.
async fn counted(stage: &Stage, show: ShowId) -> Vec<(String, f64)> {
    let mut redis = stage.redis.clone();
    let mut range = redis::cmd("ZRANGE");
    range.arg(Stage::key(show, "active")).arg(0).arg(-1).arg("WITHSCORES");
    range.query_async(&mut redis).await.unwrap()
}

/// Lets a visitor in, whose pass then ends 101 s later; a look at it renews it 1 s later.
async fn admitted_long_ago(stage: &Stage, show: ShowId) -> Visitor {
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    sqlx::query("update admissions set admitted_at = admitted_at - interval '199 seconds'")
        .execute(&stage.pool)
        .await
        .unwrap();
    let mut redis = stage.redis.clone();
    let () = redis::cmd("ZINCRBY")
        .arg(Stage::key(show, "active"))
        .arg(-199_000)
        .arg(visitor.ticket.to_string())
        .query_async(&mut redis)
        .await
        .unwrap();
    visitor
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
    let until = Instant::now() + SOON * 2;
    while measured("usher_line_round_failed_total", "") < 1.0 {
        assert!(Instant::now() < until, "counting the admitted has not failed");
        // An idle transaction would be ended.
        sqlx::query("select pg_sleep(0.1)").execute(&mut *locked).await.unwrap();
    }
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
    stage.could_admit(show).await;
    assert_eq!(stage.admitted(show).await.len(), 2, "the cap is two");
    stage.set(show, "room_max_active = 3").await;
    stage.until(0, &next, PlaceState::Admitted).await;
}

#[tokio::test]
async fn a_pass_is_renewed_only_where_redis_counts_it_for_as_long() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { max_active: Some(1), paused: false, ..Plan::default() }).await;
    let visitor = admitted_long_ago(&stage, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    let ends = |frame: serde_json::Value| frame["expiresAt"].as_str().unwrap().parse().unwrap();
    let first: DateTime<Utc> = ends(socket.frame_of("admitted").await);
    stage.proxy.cut();
    let second: DateTime<Utc> = ends(socket.frame_of("admitted").await);
    assert_eq!(second, first, "Redis cannot count the pass for longer");
    stage.proxy.heal();
    let renewed = loop {
        let told: DateTime<Utc> = ends(socket.frame_of("admitted").await);
        if told != first {
            break told;
        }
    };
    assert!(renewed - first > TimeDelta::seconds(200), "renewed as soon as Redis is back");
    let until = counted(&stage, show).await[0].1;
    let wanted = i32::try_from(renewed.timestamp() - platform::clock::now().timestamp()).unwrap();
    let left = i32::try_from(left_ms(&stage, until).await / 1000).unwrap();
    assert!((left - wanted).abs() <= 2, "{left} s in Redis, {wanted} s in the pass");
}

/// The ms left until a time of Redis's clock.
async fn left_ms(stage: &Stage, until: f64) -> i64 {
    let mut redis = stage.redis.clone();
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "a time in ms fits")]
    let until = until as i64;
    until - seconds * 1000
}

#[tokio::test]
async fn a_valid_pass_that_redis_does_not_count_is_counted_again() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { max_active: Some(1), paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    stage.set(show, "room_paused = true").await;
    let mut redis = stage.redis.clone();
    for (command, name) in [("ZREM", "active"), ("HDEL", "places")] {
        let key = Stage::key(show, name);
        let lost = redis::cmd(command).arg(key).arg(visitor.ticket.to_string()).to_owned();
        let () = lost.query_async(&mut redis).await.unwrap();
    }
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::Admitted);
    let counted = counted(&stage, show).await;
    assert_eq!(counted.first().map(|(ticket, _)| ticket.clone()), Some(visitor.ticket.to_string()));
}
