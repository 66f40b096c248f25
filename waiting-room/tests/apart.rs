//! A broken or a very long line does not affect the lines of other shows.

use std::time::Duration;

use contract::{AccountId, ShowId};
use redis::Script;
use testing::{eventually, proxy::Mode};
use tokio::time::Instant;

use crate::harness::{Plan, SOON, Stage, measure, measured};

/// Visitors in a long line, so many that a slow Redis takes seconds to return them all.
const MEMBERS: u32 = 100_000;
/// Delay of the proxy, each way.
const SLOW: Duration = Duration::from_millis(60);

/// Gives a key of a show's line another type.
async fn spoil(stage: &Stage, show: ShowId, name: &str) {
    let mut redis = stage.redis.clone();
    let () = redis::cmd("SET")
        .arg(Stage::key(show, name))
        .arg("spoilt")
        .query_async(&mut redis)
        .await
        .unwrap();
}

async fn joins(stage: &Stage, node: usize, show: ShowId) -> bool {
    let token = stage.token(AccountId::new());
    stage.post_queue(node, show, &token).await.status.as_u16() == 201
}

/// Lets visitors join a show one after the other, until some in a row get a place.
async fn joins_go_on(stage: &Stage, node: usize, show: ShowId) {
    let until = Instant::now() + SOON;
    let mut in_a_row = 0;
    while in_a_row < 5 {
        assert!(Instant::now() < until, "nobody can join the other line");
        in_a_row = if joins(stage, node, show).await { in_a_row + 1 } else { 0 };
    }
}

#[tokio::test]
async fn changes_of_one_line_that_cannot_be_read_stop_no_other_line() {
    measure();
    let stage = Stage::new(1).await;
    let (spoilt, sound) = (stage.show(Plan::default()).await, stage.show(Plan::default()).await);
    stage.join(0, spoilt).await;
    stage.join(0, sound).await;
    spoil(&stage, spoilt, "changes").await;
    eventually("the node has met it", SOON, || async {
        (!joins(&stage, 0, spoilt).await).then_some(())
    })
    .await;
    joins_go_on(&stage, 0, sound).await;
    // A line that is new to the node is loaded, too.
    let another = stage.show(Plan::default()).await;
    joins_go_on(&stage, 0, another).await;
    // The broken line is there again once its keys are whole.
    stage.lose(spoilt).await;
    eventually("the line is back", SOON, || async { joins(&stage, 0, spoilt).await.then_some(()) })
        .await;
    let failed = measured("usher_line_load_failed_total", "");
    assert!(failed >= 1.0, "it is measured");
}

#[tokio::test]
async fn a_line_that_cannot_be_loaded_stops_no_other_line() {
    let mut stage = Stage::new(1).await;
    let (spoilt, sound) = (stage.show(Plan::default()).await, stage.show(Plan::default()).await);
    stage.join(0, spoilt).await;
    stage.join(0, sound).await;
    spoil(&stage, spoilt, "line").await;
    // A new node must load both lines first.
    stage.nodes.push(stage.another_node().await);
    eventually("the node has met it", SOON, || async {
        (!joins(&stage, 1, spoilt).await).then_some(())
    })
    .await;
    joins_go_on(&stage, 1, sound).await;
}

#[tokio::test]
async fn a_long_line_is_loaded_beside_the_others() {
    let mut stage = Stage::new(1).await;
    let (long, short) = (stage.show(Plan::default()).await, stage.show(Plan::default()).await);
    stage.join(0, long).await;
    stage.stop_node(0);
    let fill = Script::new(
        "for i = 1, 2000 do
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
    for page in 0..MEMBERS / 2_000 {
        let mut call = fill.prepare_invoke();
        for name in ["line", "ready", "seen", "places", "accounts"] {
            call.key(Stage::key(long, name));
        }
        // Ranks above all that were given out.
        call.arg(1_u64 << 40 | u64::from(page * 2_000)).arg((seconds + 600) * 1000);
        let () = call.invoke_async(&mut redis).await.unwrap();
    }
    stage.nodes.push(stage.another_node().await);
    stage.join(1, short).await;
    stage.proxy.set(Mode::Slow(SLOW));
    let loaded = eventually("the long line is loaded", Duration::from_mins(1), || async {
        joins(&stage, 1, long).await.then_some(())
    });
    let mut joined = 0;
    let others_join = async {
        loop {
            joined += u32::from(joins(&stage, 1, short).await);
        }
    };
    tokio::select! {
        () = loaded => {}
        () = others_join => {}
    }
    assert!(joined >= 3, "{joined} joined meanwhile");
}
