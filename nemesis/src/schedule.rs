//! Drawing the faults of a run and their times: a pure function of the seed.

use std::time::Duration;

use fastrand::Rng;
use testing::proxy::{CommitCut, Mode};

use crate::{
    arena::Backend,
    fault::{Fault, PAST_HEARTBEAT, PAST_TAKEOVER, Schedule, Wire},
    fleet::{Node, Service},
    schema::SchemaChange,
};

/// Time until the queue of a sale that ends early was suspended and answers again.
const CLOSING_TAKES: Duration = Duration::from_secs(11);

/// Kinds of faults that fifty runs must have carried out, not only drawn.
pub const CHOSEN: [&str; 10] = [
    "suspend a queue",
    "delete an empty queue",
    "close a sale",
    "close a sale with its queue suspended",
    "rename a column",
    "add a column",
    "add a word to a type",
    "redis goes back",
    "step the clock of postgres",
    "step the clock of redis",
];

/// Draws the faults of a run of this length: about one every two seconds, and a heavy one every
/// fifteen.
pub fn schedule(seed: u64, length: Duration, is_cluster: bool) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let closing = close(&mut rng);
    let mut at = Duration::from_millis(800);
    let mut next_heavy = Duration::from_millis(rng.u64(1_000..10_000));
    let mut faults = Vec::new();
    while at + Duration::from_secs(1) < length {
        let mut fault = draw(&mut rng, is_cluster);
        if at >= next_heavy {
            while !fault.is_heavy() {
                fault = draw(&mut rng, is_cluster);
            }
            next_heavy = at + Duration::from_secs(15);
        } else {
            while fault.is_heavy() {
                fault = draw(&mut rng, is_cluster);
            }
        }
        faults.push((at, fault));
        at += Duration::from_millis(rng.u64(700..2_800));
    }
    if let Some((at, fault)) = closing.filter(|(at, _)| *at + CLOSING_TAKES < length) {
        let place = faults.partition_point(|(other, _)| *other <= at);
        faults.insert(place, (at, fault));
    }
    faults
}

/// A third of the runs close a sale early, half of these with its queue suspended.
fn close(rng: &mut Rng) -> Option<(Duration, Fault)> {
    let at = Duration::from_millis(rng.u64(500..2_500));
    match rng.u8(0..6) {
        0 => Some((at, Fault::Close { slow: false })),
        1 => Some((at, Fault::Close { slow: true })),
        _ => None,
    }
}

fn draw(rng: &mut Rng, is_cluster: bool) -> Fault {
    let millis = |rng: &mut Rng, from: u64, to: u64| Duration::from_millis(rng.u64(from..to));
    let service = match rng.u8(0..10) {
        0..5 => Service::Allocator,
        5..8 => Service::Ingress,
        8 => Service::WaitingRoom,
        _ => Service::Notifier,
    };
    let node = Node { service, n: rng.usize(0..2) };
    let wire = match rng.u8(0..3) {
        0 => Wire::Postgres,
        1 => Wire::Redis,
        _ => Wire::Amqp,
    };
    let broker = if is_cluster { Backend::RabbitMqNode(rng.u8(1..=3)) } else { Backend::RabbitMq };
    match rng.u8(0..124) {
        0..16 => Fault::Kill { node, down: millis(rng, 100, 2_500) },
        16..20 => Fault::Restart { node },
        20..30 => Fault::Freeze { node, lasts: millis(rng, 500, 4_000) },
        30..33 => Fault::Freeze { node, lasts: PAST_HEARTBEAT },
        33..36 => Fault::FreezeInHand { n: rng.usize(0..2), lasts: PAST_TAKEOVER },
        36..42 => Fault::Flush,
        42..46 => Fault::KillBackend { backend: Backend::Redis, down: millis(rng, 200, 3_000) },
        46..50 => Fault::KillBackend { backend: Backend::Postgres, down: millis(rng, 100, 1_500) },
        50..54 => Fault::KillBackend { backend: broker, down: millis(rng, 100, 1_000) },
        54..57 => {
            let backend = [Backend::Postgres, Backend::Redis, broker][rng.usize(0..3)];
            Fault::FreezeBackend { backend, lasts: millis(rng, 1_000, 6_000) }
        }
        57..59 if is_cluster => {
            Fault::Part { node: rng.u8(1..=3), lasts: millis(rng, 15_000, 25_000) }
        }
        57..59 => Fault::Alarm { lasts: millis(rng, 1_000, 3_000) },
        59..64 => Fault::TerminateSessions,
        64..70 => Fault::Reset { node, wire },
        70..86 => {
            let mode = match rng.u8(0..5) {
                0 => Mode::Stall,
                1 => Mode::Mute,
                2 => Mode::Slice,
                3 => Mode::Slow(millis(rng, 10, 80)),
                _ => Mode::Refuse,
            };
            Fault::Disturb { node, wire, mode, lasts: millis(rng, 500, 7_000) }
        }
        86..91 => Fault::CutCommit { n: rng.usize(0..2), cut: CommitCut::Delivered },
        91..94 => Fault::Poison { n: rng.usize(0..3) },
        94..97 => Fault::Deadlock { n: rng.usize(0..2) },
        97..100 => Fault::CutCommit { n: rng.usize(0..2), cut: CommitCut::Dropped },
        100..105 => Fault::Suspend { n: rng.usize(0..4), seconds: rng.u8(3..=4) },
        105..109 => Fault::Unqueue,
        109..115 => {
            let change = match rng.u8(0..4) {
                0..2 => SchemaChange::Renamed(rng.usize(0..5)),
                2 => SchemaChange::Added(rng.usize(0..5)),
                _ => SchemaChange::Word(rng.u8(0..4)),
            };
            Fault::Alter { change, lasts: millis(rng, 500, 3_000) }
        }
        115..119 => Fault::GoBack { by: millis(rng, 500, 2_500) },
        _ => {
            let backend = [Backend::Postgres, Backend::Redis][rng.usize(0..2)];
            let seconds = [-90, -20, -4, 4, 20, 90][rng.usize(0..6)];
            Fault::Step { backend, seconds, lasts: millis(rng, 500, 4_000) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_same_seed_does_the_same_harm() {
        let long = Duration::from_mins(3);
        assert_eq!(schedule(7, long, false), schedule(7, long, false));
        assert_ne!(schedule(7, long, false), schedule(8, long, false));
    }

    #[test]
    fn fifty_short_runs_have_every_kind_of_fault() {
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 1..=50 {
            for (_, fault) in schedule(seed, Duration::from_secs(14), false) {
                *kinds.entry(fault.kind()).or_default() += 1;
            }
        }
        assert!(kinds.len() >= 38, "{kinds:?}");
        for chosen in ["freeze with a batch in hand", "locks in another order", "poison in a queue"]
        {
            assert!(kinds[chosen] >= 5, "{kinds:?}");
        }
        for chosen in CHOSEN {
            assert!(kinds.contains_key(chosen), "{chosen} is missing: {kinds:?}");
        }
    }
}
