//! What is wrong with one show's line, or great about it, is no other line's.

use std::time::Duration;

use contract::AccountId;
use redis::Script;
use store::testing::eventually;
use tokio::time::Instant;

use crate::harness::{Plan, SOON, Stage};

/// Members of a long line: so many that a slow store takes seconds to tell them all.
const MEMBERS: u32 = 100_000;
/// How much later everything comes through the proxy, each way.
const SLOW: Duration = Duration::from_millis(40);

/// A key of a show's line is of another type.
async fn spoil(stage: &Stage, show: contract::ShowId, name: &str) {
    let mut redis = stage.redis.clone();
    let () = redis::cmd("SET")
        .arg(Stage::key(show, name))
        .arg("spoilt")
        .query_async(&mut redis)
        .await
        .unwrap();
}

/// Visitors join a show for a while, and each gets a place.
async fn joins_go_on(stage: &Stage, node: usize, show: contract::ShowId, during: Duration) {
    let until = Instant::now() + during;
    while Instant::now() < until {
        let token = stage.token(AccountId::new());
        let answer = stage.post_queue(node, show, &token).await;
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
    }
}

#[tokio::test]
async fn changes_of_one_line_that_cannot_be_read_stop_no_other_line() {
    crate::harness::measure();
    let stage = Stage::new(1).await;
    let (spoilt, sound) = (stage.show(Plan::default()).await, stage.show(Plan::default()).await);
    stage.join(0, spoilt).await;
    stage.join(0, sound).await;
    spoil(&stage, spoilt, "changes").await;
    eventually("the node has met it", SOON, || async {
        let token = stage.token(AccountId::new());
        (stage.post_queue(0, spoilt, &token).await.status.as_u16() == 503).then_some(())
    })
    .await;
    joins_go_on(&stage, 0, sound, Duration::from_secs(3)).await;
    // One that is new to the node is loaded, too.
    let another = stage.show(Plan::default()).await;
    joins_go_on(&stage, 0, another, Duration::from_millis(500)).await;
    // And what was spoilt is there again, once it is whole.
    stage.lose(spoilt).await;
    eventually("the line is back", SOON, || async {
        let token = stage.token(AccountId::new());
        (stage.post_queue(0, spoilt, &token).await.status.as_u16() == 201).then_some(())
    })
    .await;
    let failed = crate::harness::measured("usher_line_load_failed_total", "");
    assert!(failed >= 1.0, "it is measured");
}

#[tokio::test]
async fn a_line_that_cannot_be_loaded_stops_no_other_line() {
    let mut stage = Stage::new(1).await;
    let (spoilt, sound) = (stage.show(Plan::default()).await, stage.show(Plan::default()).await);
    stage.join(0, spoilt).await;
    stage.join(0, sound).await;
    spoil(&stage, spoilt, "line").await;
    // New to both lines, it loads them first.
    stage.nodes.push(stage.another_node().await);
    eventually("the node has met it", SOON, || async {
        let token = stage.token(AccountId::new());
        (stage.post_queue(1, spoilt, &token).await.status.as_u16() == 503).then_some(())
    })
    .await;
    joins_go_on(&stage, 1, sound, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_long_line_is_loaded_beside_the_others() {
    let mut stage = Stage::new(1).await;
    let (long, short) = (stage.show(Plan::default()).await, stage.show(Plan::default()).await);
    stage.join(0, long).await;
    stage.stop_node(0);
    let fill = Script::new(
        "for i = 1, 10000 do
             local rank = tonumber(ARGV[1]) + i
             local ticket, account = 't' .. rank, 'a' .. rank
             redis.call('ZADD', KEYS[1], rank, ticket)
             redis.call('ZADD', KEYS[2], rank, ticket)
             redis.call('ZADD', KEYS[3], ARGV[2], ticket)
             redis.call('HSET', KEYS[4], ticket, account .. ' 1 ' .. rank .. ' 1 0')
             redis.call('HSET', KEYS[5], account, ticket)
         end",
    );
    let mut redis = stage.redis.clone();
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    for page in 0..MEMBERS / 10_000 {
        let mut call = fill.prepare_invoke();
        for name in ["line", "ready", "seen", "places", "accounts"] {
            call.key(Stage::key(long, name));
        }
        // Above every rank that was given out.
        call.arg(1_u64 << 40 | u64::from(page * 10_000)).arg((seconds + 600) * 1000);
        let () = call.invoke_async(&mut redis).await.unwrap();
    }
    stage.nodes.push(stage.another_node().await);
    stage.join(1, short).await;
    stage.proxy.slow(SLOW);
    let token = stage.token(AccountId::new());
    let path = format!("/shows/{long}/queue");
    let load = async {
        eventually("the long line is loaded", Duration::from_secs(30), || async {
            let method = reqwest::Method::POST;
            let answer = stage.call(1, method, &path, Some(&token), None).await;
            answer.status.is_success().then(|| answer.place())
        })
        .await
    };
    let (place, ()) = tokio::join!(load, joins_go_on(&stage, 1, short, Duration::from_secs(4)));
    assert!(place.waiting > u64::from(MEMBERS), "{}", place.waiting);
}
