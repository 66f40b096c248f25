//! Changes of the room's mode: early visitors keep what they were told.

use contract::{
    ShowId,
    api::{catalogue::RoomMode, line::PlaceState},
};
use testing::eventually;

use crate::harness::{Plan, SOON, Stage, Visitor};

/// Lets visitors join until one is told this state; returns all of them.
async fn join_until(stage: &Stage, show: ShowId, told: PlaceState) -> Vec<Visitor> {
    let mut joined = Vec::new();
    loop {
        let visitor = stage.join(joined.len() % 2, show).await;
        let place = stage.look(joined.len() % 2, &visitor).await;
        joined.push(visitor);
        if place.state == told {
            return joined;
        }
        assert!(joined.len() < 10_000, "nobody is told {told:?}");
    }
}

/// Opens the sale; returns the ranks in the order of their admission.
async fn open(stage: &Stage, show: ShowId, count: usize) -> Vec<u64> {
    stage.set(show, "sale_opens_at = clock_timestamp()").await;
    eventually("all are admitted", SOON, || async {
        (stage.admitted(show).await.len() == count).then_some(())
    })
    .await;
    stage.taken(show).await
}

/// The ranks of these visitors.
async fn ranks(stage: &Stage, show: ShowId, visitors: &[Visitor]) -> Vec<u64> {
    let mut redis = stage.redis.clone();
    let mut command = redis::cmd("ZMSCORE");
    command.arg(Stage::key(show, "line"));
    for visitor in visitors {
        command.arg(visitor.ticket.to_string());
    }
    command.query_async(&mut redis).await.unwrap()
}

/// A plan by which one visitor is admitted at a time.
fn slowly(mode: RoomMode) -> Plan {
    Plan { mode, opens_in: 600, paused: false, rate: 40.0, burst: 1, ..Plan::default() }
}

#[tokio::test]
async fn who_was_promised_an_order_stays_before_those_who_are_drawn_also_after_a_loss() {
    let stage = Stage::new(2).await;
    let show = stage.show(slowly(RoomMode::Fifo)).await;
    let mut early = Vec::new();
    for turn in 0..6 {
        early.push(stage.join(turn % 2, show).await);
    }
    stage.set(show, "room_mode = 'LOTTERY'").await;
    let mut between = join_until(&stage, show, PlaceState::Prequeue).await;
    let mut drawn = vec![between.pop().unwrap()];
    early.append(&mut between);
    for turn in 0..12 {
        drawn.push(stage.join(turn % 2, show).await);
    }
    let place = stage.look(0, &early[4]).await;
    assert_eq!((place.state, place.ahead), (PlaceState::Waiting, Some(4)), "as before");
    stage.lose(show).await;
    // The visitors come back in another order than they came.
    for visitor in drawn.iter().chain(early.iter().rev()) {
        let is_drawn = drawn.iter().any(|one| one.ticket == visitor.ticket);
        let expected = if is_drawn { PlaceState::Prequeue } else { PlaceState::Waiting };
        stage.until(0, visitor, expected).await;
    }
    let first = ranks(&stage, show, &early).await;
    let then = ranks(&stage, show, &drawn).await;
    assert!(first.is_sorted() && !then.is_sorted(), "{first:?} in their order, {then:?} drawn");
    let taken = open(&stage, show, early.len() + drawn.len()).await;
    assert_eq!(taken[..early.len()], first);
    assert!(taken.is_sorted() && taken.len() == early.len() + drawn.len(), "{taken:?}");
}

#[tokio::test]
async fn who_was_to_be_drawn_is_drawn_among_those_and_later_ones_stand_behind() {
    let stage = Stage::new(2).await;
    let show = stage.show(slowly(RoomMode::Lottery)).await;
    let mut drawn = Vec::new();
    for turn in 0..12 {
        drawn.push(stage.join(turn % 2, show).await);
    }
    stage.set(show, "room_mode = 'FIFO'").await;
    let mut late = join_until(&stage, show, PlaceState::Waiting).await;
    let first_late = late.pop().unwrap();
    drawn.append(&mut late);
    let told = stage.look(0, &first_late).await;
    assert_eq!(told.ahead, Some(drawn.len() as u64));
    let still = stage.look(1, &drawn[3]).await;
    assert_eq!((still.state, still.ahead), (PlaceState::Prequeue, None), "not drawn yet");
    let last = stage.join(1, show).await;
    let lots = ranks(&stage, show, &drawn).await;
    let behind = ranks(&stage, show, &[first_late, last]).await;
    assert!(!lots.is_sorted(), "drawn, all the same");
    let taken = open(&stage, show, drawn.len() + 2).await;
    assert_eq!(taken[drawn.len()..], behind);
    assert!(taken.is_sorted(), "{taken:?}");
}

#[tokio::test]
async fn leaving_and_joining_again_draws_no_other_lot() {
    let stage = Stage::new(1).await;
    let show = stage.show(slowly(RoomMode::Lottery)).await;
    for _ in 0..8 {
        stage.join(0, show).await;
    }
    let visitor = stage.join(0, show).await;
    let lot = ranks(&stage, show, std::slice::from_ref(&visitor)).await;
    let mut place = visitor;
    for _ in 0..5 {
        stage.leave(0, &place).await;
        let again = stage.post_queue(0, show, &place.token).await.place();
        assert_ne!(again.ticket_id, place.ticket);
        place.ticket = again.ticket_id;
        assert_eq!(ranks(&stage, show, std::slice::from_ref(&place)).await, lot);
    }
}
