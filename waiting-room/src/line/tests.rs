//! Two nodes of one line, and a loss.

use contract::{
    AccountId,
    place_ticket::{InStretch, Place},
};

use super::{index::Index, *};

const WAITING: u64 = 20;
const OPENED: Opening = Opening { opens_in: Duration::ZERO, draw_is_told: true };

fn spot(show: ShowId, rank: u64) -> Spot {
    let place = Place {
        ticket: TicketId::new(),
        account: AccountId::new(),
        show,
        lane: 0,
        epoch: 1,
        number: rank,
        joined_at: chrono::DateTime::UNIX_EPOCH,
        told: None,
        stretch: Some(InStretch { base: 0, past: None }),
    };
    Spot { place, rank }
}

fn picture(epoch: u32, seq: u64, waiting: u64) -> Snapshot {
    let mut index = Index::default();
    for rank in 1..=waiting {
        index.insert(rank);
    }
    Snapshot {
        seen: Progress { epoch, seq },
        last_id: "0-0".into(),
        index,
        settles_in: (epoch > 1).then(|| Duration::from_mins(1)),
        held_for: None,
        lost_passes_for: None,
    }
}

fn change(epoch: u32, seq: u64) -> LineChange {
    LineChange {
        at: Progress { epoch, seq },
        opened: false,
        joined: Vec::new(),
        gone: Vec::new(),
        recalled: Vec::new(),
        left: Vec::new(),
        expired: Vec::new(),
        released: Vec::new(),
        admitted: Vec::new(),
    }
}

fn ahead(line: &Line, spot: &Spot) -> Option<u64> {
    line.standing(spot, Gate::Open, &RoomSettings::default(), OPENED).ahead
}

#[tokio::test]
async fn after_a_loss_a_node_that_was_behind_tells_no_more_than_one_that_was_not() {
    let show = ShowId::new();
    let (ahead_node, _desk) = Line::new(show);
    let (behind_node, _desk) = Line::new(show);
    for node in [&ahead_node, &behind_node] {
        node.install(picture(1, 5, WAITING));
    }
    let visitor = spot(show, WAITING);
    let _watched = ahead_node.watch(&visitor, Signal::Waiting);
    // The last change before the loss reaches one of them only.
    let last = LineChange { gone: vec![1, 2, 3], ..change(1, 6) };
    assert_eq!(ahead_node.apply("1-0", last), Applied::Yes);
    assert_eq!(ahead(&ahead_node, &visitor), Some(WAITING - 4));
    for node in [&ahead_node, &behind_node] {
        node.install(picture(2, 1, 0));
    }
    assert_eq!(ahead(&behind_node, &visitor), Some(WAITING - 1), "it does not know yet");
    let (epoch, recalled) = ahead_node.recalled();
    assert_eq!((epoch, recalled.as_slice()), (2, [1, 2, 3].as_slice()));
    assert!(behind_node.recalled().1.is_empty());
    behind_node.apply("2-0", LineChange { recalled, ..change(2, 2) });
    assert_eq!(ahead(&behind_node, &visitor), Some(WAITING - 4));
}

#[tokio::test]
async fn a_picture_that_is_loaded_again_after_a_loss_counts_nobody_who_has_left_meanwhile() {
    let (line, _desk) = Line::new(ShowId::new());
    line.install(picture(1, 5, WAITING));
    line.install(picture(2, 1, 0));
    // A new visitor joins, and is gone by the time the picture is loaded again.
    assert_eq!(
        line.apply("1-0", LineChange { joined: vec![WAITING + 5], ..change(2, 2) }),
        Applied::Yes
    );
    assert_eq!(line.waiting(), WAITING + 1);
    line.install(picture(2, 3, 0));
    assert_eq!(line.waiting(), WAITING, "those who may come back are counted");
}
