//! Admission looks at the stock: the free seats bound the visitors who choose at once.

use contract::{ShowId, api::line::PlaceState};
use testing::eventually;
use uuid::Uuid;

use crate::harness::{Plan, SOON, Stage, Visitor};

/// Seats for two visitors, so that three and three more may choose.
const SEATS: i32 = 4;
const CHOOSERS: usize = 6;

/// Visitors in front of a small hall; the first are admitted.
async fn crowd(stage: &Stage) -> (ShowId, Vec<Visitor>) {
    let show = stage.show(Plan { seats: 2 * SEATS, ..Plan::default() }).await;
    stage.set_available(show, SEATS).await;
    let mut visitors = Vec::new();
    for turn in 0..CHOOSERS + 4 {
        visitors.push(stage.join(turn % stage.nodes.len(), show).await);
    }
    stage.set(show, "room_paused = false").await;
    for visitor in &visitors[..CHOOSERS] {
        stage.until(0, visitor, PlaceState::Admitted).await;
    }
    // The bucket would allow all of them, but the stock does not.
    eventually("the bucket is full again", SOON, || async {
        let tokens: Option<f64> = redis::cmd("HGET")
            .arg(Stage::key(show, "bucket"))
            .arg("tokens")
            .query_async(&mut stage.redis.clone())
            .await
            .unwrap();
        tokens.filter(|tokens| *tokens >= 99.0)
    })
    .await;
    assert_eq!(stage.admitted(show).await.len(), CHOOSERS);
    (show, visitors)
}

/// The visitor holds seats with the pass.
const HOLDS: &str = "insert into bookings (show_id, booking_id, account_id, ticket_id, tier, kind,
        status, seat_ids, state, expires_at)
    values ($1, $2, $3, $4, 'GOLD', 'HOLD', 'ALLOCATED', '{A1,A2}', 'HELD',
        now() + interval '1 hour')";
/// The visitor asked for seats that another account has.
const IS_REFUSED: &str = "insert into bookings (show_id, booking_id, account_id, ticket_id, tier,
        kind, status, reason)
    values ($1, $2, $3, $4, 'GOLD', 'HOLD', 'REJECTED', 'SEAT_TAKEN')";

async fn decided(stage: &Stage, visitor: &Visitor, how: &'static str) {
    sqlx::query(how)
        .bind(visitor.show.0)
        .bind(Uuid::now_v7())
        .bind(visitor.account.0)
        .bind(visitor.ticket.0)
        .execute(&stage.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn who_leaves_or_has_an_outcome_makes_room_for_the_next() {
    let stage = Stage::new(2).await;
    let (show, visitors) = crowd(&stage).await;
    stage.leave(1, &visitors[0]).await;
    stage.until(1, &visitors[CHOOSERS], PlaceState::Admitted).await;
    decided(&stage, &visitors[1], HOLDS).await;
    stage.until(0, &visitors[CHOOSERS + 1], PlaceState::Admitted).await;
    decided(&stage, &visitors[2], IS_REFUSED).await;
    stage.until(0, &visitors[CHOOSERS + 2], PlaceState::Admitted).await;
    assert_eq!(stage.admitted(show).await.len(), CHOOSERS + 3);
    assert_eq!(stage.look(0, &visitors[CHOOSERS + 3]).await.position, Some(1));
    // One more seat comes back.
    stage.set_available(show, SEATS + 1).await;
    stage.until(0, &visitors[CHOOSERS + 3], PlaceState::Admitted).await;
}

#[tokio::test]
async fn who_found_the_hall_full_is_not_waited_for_when_seats_come_back() {
    let stage = Stage::new(2).await;
    let (show, visitors) = crowd(&stage).await;
    stage.hold_all(show).await;
    eventually("nobody is taken to be choosing", SOON, || async {
        let there: u64 = redis::cmd("EXISTS")
            .arg(Stage::key(show, "choosing"))
            .query_async(&mut stage.redis.clone())
            .await
            .unwrap();
        (there == 0).then_some(())
    })
    .await;
    assert_eq!(stage.admitted(show).await.len(), CHOOSERS);
    stage.set_available(show, 1).await;
    for visitor in &visitors[CHOOSERS..] {
        stage.until(0, visitor, PlaceState::Admitted).await;
    }
}

#[tokio::test]
async fn who_only_keeps_a_pass_holds_up_the_line_for_a_minute_and_not_for_ever() {
    let stage = Stage::new(1).await;
    let (show, visitors) = crowd(&stage).await;
    let mut redis = stage.redis.clone();
    let let_in = |visitor: &Visitor, ms: i64| {
        let mut add = redis::cmd("ZADD");
        add.arg(Stage::key(visitor.show, "choosing")).arg("XX").arg("CH").arg(ms);
        add.arg(visitor.ticket.to_string()).to_owned()
    };
    // One visitor was admitted a minute ago; for another the clock of Redis has jumped back.
    let now = platform::clock::now().timestamp_millis();
    let aged: u64 = let_in(&visitors[0], now - 61_000).query_async(&mut redis).await.unwrap();
    assert_eq!(aged, 1);
    stage.until(0, &visitors[CHOOSERS], PlaceState::Admitted).await;
    let ahead: u64 = let_in(&visitors[1], now + 3_600_000).query_async(&mut redis).await.unwrap();
    assert_eq!(ahead, 1);
    stage.until(0, &visitors[CHOOSERS + 1], PlaceState::Admitted).await;
    assert_eq!(stage.admitted(show).await.len(), CHOOSERS + 2);
    assert_eq!(stage.look(0, &visitors[0]).await.state, PlaceState::Admitted, "the pass is good");
}
