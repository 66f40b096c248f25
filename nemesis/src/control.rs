//! Negative controls: if a guarantee is missing, the checks of the same sale must fail.

use std::{convert::Infallible, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use platform::faults::Guarantee;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    arena::Backend,
    fault::Fault,
    fleet::{Fleet, Node, Service},
    run::{Installation, Script, Verdict},
    sale::Halls,
    schema::SchemaChange,
};

const LENGTH: Duration = Duration::from_secs(17);
const SEATS: u32 = 80;
/// Few seats have few buyers, so that four tries of each booking fit into the run.
const FEW_SEATS: u32 = 20;
/// Time for two heartbeats, a takeover, and some work after it.
const FREEZES_TAKE: Duration = Duration::from_secs(40);
const TAKEOVER: Duration = Duration::from_secs(30);

/// A negative control: a guarantee that is taken away, and the finding that must follow.
pub struct Control {
    pub name: &'static str,
    pub what: &'static str,
    seats: u32,
    without: &'static [Guarantee],
    /// Whether the unique index is dropped, too.
    drops_index: bool,
    faults: fn() -> Vec<(Duration, Fault)>,
    /// Whether the allocators of one partition freeze in turn, with deliveries in hand.
    freezes: bool,
    /// One finding of each inner list must be found; with an empty list nothing may be found.
    pub found: &'static [&'static [&'static str]],
}

/// Every control. Two must find nothing: `two-owners` shows that the epoch stops a displaced
/// session, and `wrong-map` that the index alone is enough if the map in memory is wrong.
pub const ALL: [Control; 15] = [
    Control {
        name: "two-owners",
        what: "nothing is missing, and allocators freeze with deliveries in hand",
        seats: SEATS,
        without: &[],
        drops_index: false,
        faults: Vec::new,
        freezes: true,
        found: &[],
    },
    Control {
        name: "ack-after-commit",
        what: "deliveries are acked before the transaction, and allocators die with a batch in hand",
        seats: SEATS,
        without: &[Guarantee::AckAfterCommit],
        drops_index: false,
        faults: deaths_in_hand,
        freezes: false,
        found: &[&["accepted without outcome", "did not converge"]],
    },
    Control {
        name: "fence",
        what: "epochs are not compared, and allocators freeze with deliveries in hand",
        seats: SEATS,
        without: &[Guarantee::Fence],
        drops_index: false,
        faults: Vec::new,
        freezes: true,
        found: &[&["outcomes that a displaced session wrote"]],
    },
    Control {
        name: "idempotency",
        what: "a repeated request gets an id of its own, and answers are lost",
        seats: SEATS,
        without: &[Guarantee::Idempotency],
        drops_index: false,
        faults: lost_answers,
        freezes: false,
        found: &[&["one key, several bookings"]],
    },
    Control {
        name: "confirm",
        what: "202 is said before the broker's confirm, and the broker is killed",
        seats: SEATS,
        without: &[Guarantee::Confirm],
        drops_index: false,
        faults: broker_dies,
        freezes: false,
        found: &[&["accepted without outcome", "did not converge"]],
    },
    Control {
        name: "wrong-map",
        what: "a session takes every seat for free; the unique index is there",
        seats: SEATS,
        without: &[Guarantee::SeatMap],
        drops_index: false,
        faults: kills,
        freezes: false,
        found: &[],
    },
    Control {
        name: "unique-index",
        what: "a session takes every seat for free; the unique index and the bound of the count are gone",
        seats: SEATS,
        without: &[Guarantee::SeatMap, Guarantee::UniqueIndex],
        drops_index: true,
        faults: kills,
        freezes: false,
        found: &[
            &["seats sold twice"],
            &["claims on one seat that overlap in time"],
            &["seats claimed while they were claimed, by the versions of a tier"],
        ],
    },
    Control {
        name: "rebuild",
        what: "seat locks are not written again after a flush",
        seats: SEATS,
        without: &[Guarantee::Rebuild],
        drops_index: false,
        faults: flushes,
        freezes: false,
        found: &[&["seat locks in Redis differ from the claims"]],
    },
    Control {
        name: "relay",
        what: "events are marked as published before the broker has them, and it is killed",
        seats: SEATS,
        without: &[Guarantee::Relay],
        drops_index: false,
        faults: broker_dies,
        freezes: false,
        found: &[&["events that nobody heard"]],
    },
    Control {
        name: "queue-proof",
        what: "the queue of a closed sale is deleted on a count, and is silent when it is counted",
        seats: SEATS,
        without: &[Guarantee::QueueProof],
        drops_index: false,
        faults: silent_closings,
        freezes: false,
        found: &[&["accepted and lost, by the count"]],
    },
    Control {
        name: "full-queue",
        what: "nothing is missing; an operator deletes a queue with bookings in it",
        seats: SEATS,
        without: &[],
        drops_index: false,
        faults: lost_queues,
        freezes: false,
        found: &[&["accepted and lost, by the count"]],
    },
    Control {
        name: "order",
        what: "a session decides what it takes at once in reverse",
        seats: SEATS,
        without: &[Guarantee::Order],
        drops_index: false,
        faults: Vec::new,
        freezes: false,
        found: &[&["decided out of order within a session"]],
    },
    Control {
        name: "overtaken",
        what: "nothing is missing; an operator holds back what was accepted within a second",
        seats: SEATS,
        without: &[],
        drops_index: false,
        faults: held_back,
        freezes: false,
        found: &[&["overtaken by more than a takeover takes"]],
    },
    Control {
        name: "poison",
        what: "errors of the installation condemn bookings, and columns are renamed",
        seats: FEW_SEATS,
        without: &[Guarantee::OnlyDataCondemns],
        drops_index: false,
        faults: renamed_columns,
        freezes: false,
        found: &[&["bookings refused as INTERNAL"]],
    },
    Control {
        name: "numbers",
        what: "nothing is missing; the count of a line is set back by hand",
        seats: SEATS,
        without: &[],
        drops_index: false,
        faults: counts_again,
        freezes: false,
        found: &[&["numbers given twice"]],
    },
];

impl Control {
    /// The expected findings, in words.
    pub fn expects(&self) -> String {
        if self.found.is_empty() {
            "nothing to find".into()
        } else {
            let each: Vec<String> = self.found.iter().map(|kinds| kinds.join(", or ")).collect();
            each.join("; ")
        }
    }
}

/// The control of this name.
pub fn named(name: &str) -> anyhow::Result<&'static Control> {
    let found = ALL.iter().find(|control| control.name == name);
    found.with_context(|| {
        let names: Vec<&str> = ALL.iter().map(|control| control.name).collect();
        format!("there is no control `{name}`: one of {}", names.join(", "))
    })
}

/// Runs a control.
pub async fn run(control: &Control, folder: &Path, seed: u64) -> anyhow::Result<Verdict> {
    let installation = Installation::open(folder, false, control.without).await?;
    if control.drops_index {
        sqlx::query("drop index seat_claims_one_live").execute(&installation.pool).await?;
        // A second guard, dropped as well: the count of free seats may not become negative.
        let count = "alter table partitions drop constraint partitions_available_in_range";
        sqlx::query(count).execute(&installation.pool).await?;
    }
    let length = if control.freezes { FREEZES_TAKE } else { LENGTH };
    let partitions = if control.freezes { Halls::OnePartition } else { Halls::Several };
    let faults = (control.faults)();
    let script = Script { seed, length, seats: control.seats, halls: partitions, faults };
    let verdict = if control.freezes {
        let until = Instant::now() + length;
        tokio::join!(installation.run(&script), freeze_in_turn(&installation, until)).0
    } else {
        installation.run(&script).await
    };
    installation.close().await?;
    verdict
}

/// An error if the control did not find what it must, or found anything if it must stay green.
pub fn is_as_expected(control: &Control, verdict: &Verdict) -> anyhow::Result<()> {
    let found: Vec<&str> = verdict.findings.kinds().collect();
    if control.found.is_empty() {
        if verdict.is_green() {
            return Ok(());
        }
        bail!("control {}: meant to stay green, and found\n{}", control.name, verdict.findings);
    }
    if control.found.iter().all(|kinds| kinds.iter().any(|kind| found.contains(kind))) {
        return Ok(());
    }
    bail!("control {}: the damage was not found, only {found:?}", control.name)
}

/// Freezes an allocator with deliveries in hand, and the other one as soon as it has taken over.
/// Then the first goes on, under an epoch that is old by now. In the end both run undisturbed.
async fn freeze_in_turn(installation: &Installation, until: Instant) {
    let fleet = &installation.fleet;
    let both = [allocator(0), allocator(1)];
    let freezing = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            for node in both {
                fleet.arm(node, "after-delivery=freeze@2");
            }
            // Only the owner of the one partition has deliveries.
            let Some(first) = stopped(fleet, &both).await else { continue };
            let second = allocator(1 - first.n);
            fleet.arm(second, "after-epoch=freeze");
            if stopped(fleet, &[second]).await.is_some() {
                fleet.freeze(first, false);
                sleep(Duration::from_secs(2)).await;
            }
            fleet.freeze(first, false);
            fleet.freeze(second, false);
            sleep(Duration::from_secs(2)).await;
        }
    };
    let _: Result<Infallible, _> = timeout_at(until, freezing).await;
    for node in both {
        fleet.freeze(node, false);
        fleet.kill(node, Duration::ZERO);
    }
}

/// The first of these to be stopped by its failpoint.
async fn stopped(fleet: &Fleet, nodes: &[Node]) -> Option<Node> {
    let until = Instant::now() + TAKEOVER;
    while Instant::now() < until {
        if let Some(node) = nodes.iter().find(|node| fleet.is_stopped(**node)) {
            return Some(*node);
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

fn allocator(n: usize) -> Node {
    Node { service: Service::Allocator, n }
}

/// Kills the allocators in turn, with time for a takeover in between.
fn kills() -> Vec<(Duration, Fault)> {
    let kill = |n: u64| Fault::Kill {
        node: allocator(usize::try_from(n % 2).unwrap_or_default()),
        down: Duration::from_secs(4),
    };
    (0..3).map(|n| (Duration::from_secs(3 + 5 * n), kill(n))).collect()
}

/// Kills the allocators in turn, each before a commit, with time for a takeover in between.
fn deaths_in_hand() -> Vec<(Duration, Fault)> {
    let die = |n: u64| Fault::DieInHand { n: usize::try_from(n % 2).unwrap_or_default() };
    (0..3).map(|n| (Duration::from_secs(2 + 5 * n), die(n))).collect()
}

/// Kills the ingress nodes in turn, with answers under way.
fn lost_answers() -> Vec<(Duration, Fault)> {
    let kill = |s: u64| Fault::Kill {
        node: Node { service: Service::Ingress, n: usize::try_from(s % 2).unwrap_or_default() },
        down: Duration::from_millis(200),
    };
    (1..10).map(|s| (Duration::from_secs(s), kill(s))).collect()
}

fn broker_dies() -> Vec<(Duration, Fault)> {
    let kill = Fault::KillBackend { backend: Backend::RabbitMq, down: Duration::from_millis(200) };
    vec![(Duration::from_secs(3), kill)]
}

fn flushes() -> Vec<(Duration, Fault)> {
    (2..10).step_by(2).map(|s| (Duration::from_secs(s), Fault::Flush)).collect()
}

fn silent_closings() -> Vec<(Duration, Fault)> {
    vec![(Duration::from_secs(1), Fault::Close { slow: true })]
}

/// Deletes a full queue early, while seats are free: later ingress refuses most requests.
fn lost_queues() -> Vec<(Duration, Fault)> {
    vec![(Duration::from_secs(1), Fault::UnqueueFull)]
}

/// Holds bookings back for longer than a takeover and slow backends can explain.
fn held_back() -> Vec<(Duration, Fault)> {
    vec![(Duration::from_secs(2), Fault::HoldBack { by: Duration::from_secs(10) })]
}

/// Renames a column for longer than all tries of a booking take. It begins early, before the seats
/// are sold.
fn renamed_columns() -> Vec<(Duration, Fault)> {
    let renamed = Fault::Alter { change: SchemaChange::Renamed(4), lasts: Duration::from_secs(30) };
    vec![(Duration::from_secs(1), renamed)]
}

fn counts_again() -> Vec<(Duration, Fault)> {
    vec![(Duration::from_secs(6), Fault::CountAgain { by: 10 })]
}
