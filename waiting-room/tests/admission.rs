//! Admission: the bucket, the cap, and what holds it.

use contract::api::line::PlaceState;
use redis::AsyncCommands as _;
use redis::streams::StreamRangeReply;
use testing::eventually;
use waiting_room::testing::Gone;

use crate::harness::{Plan, SOON, Stage};

/// The times at which visitors were taken from the line, by Redis's clock in ms, and how many.
async fn taken(stage: &Stage, show: contract::ShowId) -> Vec<(u64, f64)> {
    let mut redis = stage.redis.clone();
    let changes: StreamRangeReply = redis::cmd("XRANGE")
        .arg(Stage::key(show, "changes"))
        .arg(["-", "+"].as_slice())
        .query_async(&mut redis)
        .await
        .unwrap();
    let taken = changes.ids.iter().filter_map(Gone::read);
    let taken = taken.filter(|gone| gone.to_be_admitted && !gone.ranks.is_empty());
    let taken = taken.map(|gone| (gone.at_ms, f64::from(u32::try_from(gone.ranks.len()).unwrap())));
    taken.collect()
}

#[tokio::test]
async fn first_come_first_served_within_rate_and_burst_over_every_window() {
    let stage = Stage::new(2).await;
    let (rate, burst) = (40.0, 5);
    let show = stage.show(Plan { rate, burst, ..Plan::default() }).await;
    let mut visitors = Vec::new();
    for turn in 0..80 {
        visitors.push(stage.join(turn % 2, show).await);
    }
    stage.set(show, "room_paused = false").await;
    eventually("all are admitted", SOON, || async {
        (stage.admitted(show).await.len() == visitors.len()).then_some(())
    })
    .await;
    let order = stage.taken(show).await;
    assert!(order.len() == visitors.len() && order.is_sorted(), "{order:?}");

    let taken = taken(&stage, show).await;
    for (first, (from, _)) in taken.iter().enumerate() {
        let mut sum = 0.0;
        for (until, count) in &taken[first..] {
            sum += count;
            // The ids are whole milliseconds.
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let seconds = (until - from + 1) as f64 / 1000.0;
            let allowed = f64::from(burst) + rate * seconds;
            assert!(sum <= allowed, "{sum} within {seconds} s");
        }
    }
    let (from, until) = (taken[0].0, taken.last().unwrap().0);
    assert!(until - from < 4000, "and not much slower than allowed: {} ms", until - from);
}

#[tokio::test]
async fn a_bucket_that_is_lost_starts_empty() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { rate: 5.0, burst: 50, ..Plan::default() }).await;
    for _ in 0..12 {
        stage.join(0, show).await;
    }
    stage.set(show, "room_paused = false").await;
    eventually("somebody is admitted", SOON, || async {
        (!stage.admitted(show).await.is_empty()).then_some(())
    })
    .await;
    let mut redis = stage.redis.clone();
    let (): () =
        redis::cmd("DEL").arg(Stage::key(show, "bucket")).query_async(&mut redis).await.unwrap();
    eventually("all are admitted", SOON, || async {
        (stage.admitted(show).await.len() == 12).then_some(())
    })
    .await;
    let taken = taken(&stage, show).await;
    assert!(taken.iter().all(|(_, count)| *count <= 2.0), "{taken:?}");
}

#[tokio::test]
async fn the_cap_on_active_visitors_holds_until_one_gives_the_pass_back() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan { max_active: Some(3), ..Plan::default() }).await;
    let mut visitors = Vec::new();
    for turn in 0..6 {
        visitors.push(stage.join(turn % 2, show).await);
    }
    stage.set(show, "room_paused = false").await;
    for visitor in &visitors[..3] {
        stage.until(0, visitor, PlaceState::Admitted).await;
    }
    assert_eq!(stage.admitted(show).await.len(), 3);
    stage.leave(1, &visitors[0]).await;
    stage.until(1, &visitors[3], PlaceState::Admitted).await;
    assert_eq!(stage.admitted(show).await.len(), 4);
    assert_eq!(stage.look(0, &visitors[4]).await.position, Some(1));
    assert_eq!(stage.look(0, &visitors[0]).await.state, PlaceState::Left);
}

#[tokio::test]
async fn who_was_away_finds_the_same_pass_on_every_node() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    let place = stage.until(1, &visitor, PlaceState::Admitted).await;
    let keys = store::keys::load(&stage.pool, &stage.slot.master_key()).await.unwrap();
    let now = platform::clock::now();
    let pass = keys.verify.verify(&place.pass.unwrap(), show, visitor.account, now).unwrap();
    assert_eq!(pass.ticket, visitor.ticket);
    let left = pass.expires_at - now;
    assert!(left.num_seconds() > 280 && left.num_seconds() <= 300);
    let again = stage.look(0, &visitor).await;
    assert_eq!(again.expires_at, place.expires_at);
    let joined = stage.post_queue(1, show, &visitor.token).await;
    assert_eq!(joined.status.as_u16(), 200);
    assert_eq!(joined.place().ticket_id, visitor.ticket);
    assert_eq!(joined.place().state, PlaceState::Admitted);
}

#[tokio::test]
async fn a_pass_that_was_not_used_expires() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    // Four lifetimes pass, both in Postgres's log and in Redis.
    sqlx::query("update admissions set admitted_at = admitted_at - interval '20 minutes'")
        .execute(&stage.pool)
        .await
        .unwrap();
    let mut redis = stage.redis.clone();
    let (): () = redis::cmd("ZADD")
        .arg(Stage::key(show, "active"))
        .arg(1)
        .arg(visitor.ticket.to_string())
        .query_async(&mut redis)
        .await
        .unwrap();
    let place = stage.until(0, &visitor, PlaceState::Expired).await;
    assert_eq!(place.pass, None);
    eventually("the account can join again", SOON, || async {
        let answer = stage.post_queue(0, show, &visitor.token).await;
        (answer.place().ticket_id != visitor.ticket).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_visitor_whom_a_dying_node_took_from_the_line_is_admitted_by_another() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut redis = stage.redis.clone();
    let ticket = visitor.ticket.to_string();
    let rank: u64 = redis.zscore(Stage::key(show, "line"), &ticket).await.unwrap();
    let head = Stage::key(show, "head");
    let seq: u64 = redis.hget(&head, "seq").await.unwrap();
    let told = [("e", 1), ("s", seq + 1), ("g", rank)];
    let mut died = redis::pipe();
    died.atomic();
    for zset in ["line", "ready", "seen"] {
        died.zrem(Stage::key(show, zset), &ticket);
    }
    died.zadd(Stage::key(show, "admitting"), &ticket, 1);
    died.hset(&head, "seq", seq + 1).xadd(Stage::key(show, "changes"), "*", &told);
    let () = died.query_async(&mut redis).await.unwrap();
    stage.until(0, &visitor, PlaceState::Admitted).await;
    assert_eq!(stage.admitted(show).await, [visitor.ticket]);
}

#[tokio::test]
async fn sold_out_stops_admission_and_seats_that_come_back_resume_it() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { seats: 10, paused: true, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    socket.frame_of("paused").await;
    stage.set_available(show, 0).await;
    stage.set(show, "room_paused = false").await;
    socket.frame_of("sold_out").await;
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::SoldOut);
    assert!(stage.admitted(show).await.is_empty());
    stage.set_available(show, 1).await;
    socket.frame_of("resumed").await;
    let admitted = socket.frame_of("admitted").await;
    assert!(admitted["pass"].is_string() && admitted["expiresAt"].is_string());
}

#[tokio::test]
async fn that_all_seats_are_held_is_told_apart_from_sold_out() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { seats: 10, paused: true, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    socket.frame_of("paused").await;
    let booking = stage.hold_all(show).await;
    stage.set(show, "room_paused = false").await;
    socket.frame_of("all_held").await;
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::Waiting);
    assert!(stage.admitted(show).await.is_empty());
    sqlx::query("update bookings set state = 'CONFIRMED', expires_at = null where booking_id = $1")
        .bind(booking)
        .execute(&stage.pool)
        .await
        .unwrap();
    socket.frame_of("sold_out").await;
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::SoldOut);
    stage.set_available(show, 1).await;
    socket.frame_of("resumed").await;
    socket.frame_of("admitted").await;
}

#[tokio::test]
async fn the_end_of_the_sale_is_told() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut socket = stage.watch(0, &visitor).await;
    assert_eq!(socket.frame().await["type"], "position");
    stage.set(show, "sale_state = 'CLOSED'").await;
    socket.frame_of("closed").await;
    assert_eq!(socket.close_code().await, 1000);
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::Closed);
}

#[tokio::test]
async fn admission_holds_while_it_cannot_be_logged_and_loses_nobody() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan { rate: 50.0, burst: 3, ..Plan::default() }).await;
    let mut visitors = Vec::new();
    for turn in 0..12 {
        visitors.push(stage.join(turn % 2, show).await);
    }
    let rename = async |from: &str, to: &str| {
        let statement = format!("alter table {from} rename to {to}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&stage.pool).await.unwrap();
    };
    rename("admissions", "admissions_away").await;
    stage.set(show, "room_paused = false").await;
    let waiting = async |name: &str| {
        let mut redis = stage.redis.clone();
        let count: u64 =
            redis::cmd("ZCARD").arg(Stage::key(show, name)).query_async(&mut redis).await.unwrap();
        count
    };
    eventually("a node has taken somebody from the line", SOON, || async {
        (waiting("admitting").await > 0).then_some(())
    })
    .await;
    assert_eq!(waiting("active").await, 0);
    assert!(waiting("line").await >= 4, "few are taken while nothing can be logged");
    rename("admissions_away", "admissions").await;
    for visitor in &visitors {
        stage.until(0, visitor, PlaceState::Admitted).await;
    }
    let expected: std::collections::BTreeSet<_> = visitors.iter().map(|one| one.ticket).collect();
    let admitted = stage.admitted(show).await;
    assert_eq!(admitted.len(), 12);
    assert_eq!(admitted.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn while_the_backlogs_cannot_be_read_nobody_is_let_in() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { max_active: Some(1), paused: false, ..Plan::default() }).await;
    let first = stage.join(0, show).await;
    stage.until(0, &first, PlaceState::Admitted).await;
    let second = stage.join(0, show).await;
    let mut socket = stage.watch(0, &second).await;
    let mut away = stage.pool.begin().await.unwrap();
    for statement in [
        "set local idle_in_transaction_session_timeout = 0",
        "lock table backlogs in access exclusive mode",
    ] {
        sqlx::query(statement).execute(&mut *away).await.unwrap();
    }
    tokio::time::timeout(SOON * 2, socket.frame_of("paused")).await.expect("the line is held");
    away.rollback().await.unwrap();
    tokio::time::timeout(SOON * 2, socket.frame_of("resumed")).await.expect("it goes on");
}
