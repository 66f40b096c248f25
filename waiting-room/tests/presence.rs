//! Presence: a visitor is there who is held by a living node or was heard of lately.

use contract::api::line::PlaceState;
use redis::AsyncCommands as _;
use testing::eventually;
use waiting_room::testing::KEYS;

use crate::harness::{Plan, SOON, Stage, Visitor};

/// The node that holds a visitor.
async fn holder(stage: &Stage, visitor: &Visitor) -> Option<String> {
    let key = Stage::key(visitor.show, "held");
    stage.redis.clone().hget(key, visitor.ticket.to_string()).await.unwrap()
}

/// Whether a sorted set of the line has the visitor.
async fn is_in(stage: &Stage, name: &str, visitor: &Visitor) -> bool {
    let key = Stage::key(visitor.show, name);
    let score: Option<f64> =
        stage.redis.clone().zscore(key, visitor.ticket.to_string()).await.unwrap();
    score.is_some()
}

async fn is_held(stage: &Stage, visitor: &Visitor) -> String {
    eventually("a node holds the visitor", SOON, || holder(stage, visitor)).await
}

/// Waits until every node tends the line.
async fn all_tend(stage: &Stage, show: contract::ShowId) {
    eventually("all nodes tend the line", SOON, || async {
        let known: usize = stage.redis.clone().zcard(Stage::key(show, "nodes")).await.unwrap();
        (known == stage.nodes.len()).then_some(())
    })
    .await;
}

/// Ends the extra grace that visitors of a new line get.
async fn ends_leniency(stage: &Stage, show: contract::ShowId) {
    let head = Stage::key(show, "head");
    eventually("the first sweep is over", SOON, || async {
        stage.redis.clone().hget::<_, _, Option<String>>(&head, "swept_at").await.unwrap()
    })
    .await;
    let () = stage.redis.clone().hset(&head, "lenient_until", 0).await.unwrap();
}

/// Makes a node silent for too long.
async fn falls_silent(stage: &Stage, show: contract::ShowId, node: &str) {
    let () = stage.redis.clone().zadd(Stage::key(show, "nodes"), node, 1).await.unwrap();
}

#[tokio::test]
async fn a_node_holds_whoever_has_a_socket_there_and_lets_go_when_it_closes() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    assert!(is_in(&stage, "seen", &visitor).await);
    let socket = stage.watch(0, &visitor).await;
    is_held(&stage, &visitor).await;
    assert!(!is_in(&stage, "seen", &visitor).await);
    // A held visitor who also polls stays held.
    stage.look(0, &visitor).await;
    assert!(!is_in(&stage, "seen", &visitor).await);
    drop(socket);
    eventually("it was let go of", SOON, || async {
        holder(&stage, &visitor).await.is_none().then_some(())
    })
    .await;
    assert!(is_in(&stage, "seen", &visitor).await);
    assert_eq!(stage.look(0, &visitor).await.position, Some(1));
}

#[tokio::test]
async fn when_one_of_two_nodes_lets_go_the_other_holds_on() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    all_tend(&stage, show).await;
    let mut phone = stage.watch(0, &visitor).await;
    let first = is_held(&stage, &visitor).await;
    let laptop = stage.watch(1, &visitor).await;
    eventually("the later one holds it", SOON, || async {
        (holder(&stage, &visitor).await? != first).then_some(())
    })
    .await;
    drop(laptop);
    eventually("the one that is left holds it", SOON, || async {
        (holder(&stage, &visitor).await? == first).then_some(())
    })
    .await;
    assert!(!is_in(&stage, "seen", &visitor).await);
    assert_eq!(phone.frame_of("position").await["position"], 1);
}

#[tokio::test]
async fn visitors_of_a_node_that_is_gone_are_skipped_and_come_back_to_their_place() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan { rate: 1.0, burst: 1, ..Plan::default() }).await;
    let (theirs, other) = (stage.join(0, show).await, stage.join(1, show).await);
    let _lost = stage.watch(0, &theirs).await;
    let mut behind = stage.watch(1, &other).await;
    let node = is_held(&stage, &theirs).await;
    is_held(&stage, &other).await;
    ends_leniency(&stage, show).await;
    // A node that stops gracefully releases its visitors.
    stage.stop_node(0);
    eventually("they are let go of", SOON, || async {
        (holder(&stage, &theirs).await.is_none() && is_in(&stage, "seen", &theirs).await)
            .then_some(())
    })
    .await;
    // A node that is killed does not: its visitors stay held.
    let ticket = theirs.ticket.to_string();
    let () = redis::pipe()
        .atomic()
        .hset(Stage::key(show, "held"), &ticket, &node)
        .zrem(Stage::key(show, "seen"), &ticket)
        .zadd(Stage::key(show, "nodes"), &node, 1)
        .query_async(&mut stage.redis.clone())
        .await
        .unwrap();
    eventually("they are absent", SOON, || async {
        is_in(&stage, "absent", &theirs).await.then_some(())
    })
    .await;
    // The absent visitors still count in the number, but do not hold up admission.
    assert_eq!(behind.frame_of("position").await["position"], 2);
    stage.set(show, "room_paused = false").await;
    behind.frame_of("admitted").await;
    let mut back = stage.watch(1, &theirs).await;
    assert_eq!(back.frame_of("position").await["position"], 1);
    back.frame_of("admitted").await;
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_holds_its_visitors_again() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    let node = is_held(&stage, &visitor).await;
    ends_leniency(&stage, show).await;
    for _ in 0..4 {
        // Either node may notice first.
        falls_silent(&stage, show, &node).await;
        eventually("it is held again", SOON, || async {
            let alive: Option<f64> =
                stage.redis.clone().zscore(Stage::key(show, "nodes"), &node).await.unwrap();
            let is_back = alive.is_some_and(|at| at > 1.0)
                && holder(&stage, &visitor).await.as_ref() == Some(&node)
                && is_in(&stage, "ready", &visitor).await;
            is_back.then_some(())
        })
        .await;
    }
    assert_eq!(socket.frame_of("position").await["position"], 1);
}

#[tokio::test]
async fn whichever_key_of_the_line_is_lost_everybody_keeps_the_place() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = Vec::new();
    for turn in 0..6 {
        visitors.push(stage.join(turn % 2, show).await);
    }
    // Every third visitor polls, the others watch.
    let mut sockets = Vec::new();
    for turn in [0, 1, 3, 4] {
        sockets.push((turn, stage.watch(turn % 2, &visitors[turn]).await));
        is_held(&stage, &visitors[turn]).await;
    }
    for name in KEYS {
        let () = stage.redis.clone().del(Stage::key(show, name)).await.unwrap();
        eventually(&format!("all is well without `{name}`"), SOON, || async {
            for poller in [2, 5] {
                stage.look(poller % 2, &visitors[poller]).await;
            }
            for (turn, visitor) in visitors.iter().enumerate() {
                let is_there = holder(&stage, visitor).await.is_some() == (turn % 3 != 2)
                    && is_in(&stage, "ready", visitor).await
                    && is_in(&stage, "line", visitor).await;
                let account = visitor.account.to_string();
                let key = Stage::key(show, "accounts");
                let ticket: Option<String> = stage.redis.clone().hget(key, account).await.unwrap();
                if !is_there || ticket != Some(visitor.ticket.to_string()) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
    stage.set(show, "room_paused = false").await;
    for (_, socket) in &mut sockets {
        socket.frame_of("admitted").await;
    }
    stage.until(0, &visitors[5], PlaceState::Admitted).await;
    let taken = stage.taken(show).await;
    assert_eq!(taken.len(), visitors.len());
    assert!(taken.is_sorted(), "in the old order: {taken:?}");
}

#[tokio::test]
async fn the_absent_are_skipped_in_a_line_that_has_just_begun() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { rate: 1.0, burst: 1, ..Plan::default() }).await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        dead.push(stage.join(0, show).await);
    }
    let living = stage.join(0, show).await;
    let mut socket = stage.watch(0, &living).await;
    is_held(&stage, &living).await;
    // The visitors in front are silent for 30 s.
    let mut redis = stage.redis.clone();
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    for visitor in &dead {
        let at = (seconds - 30) * 1000;
        let () =
            redis.zadd(Stage::key(show, "seen"), visitor.ticket.to_string(), at).await.unwrap();
    }
    eventually("they are absent", SOON, || async {
        let absent: usize = stage.redis.clone().zcard(Stage::key(show, "absent")).await.unwrap();
        (absent == dead.len()).then_some(())
    })
    .await;
    stage.set(show, "room_paused = false").await;
    socket.frame_of("admitted").await;
    assert_eq!(stage.admitted(show).await, [living.ticket]);
    // They still have their grace.
    assert_eq!(stage.look(0, &dead[0]).await.state, PlaceState::Waiting);
}
