//! The rehearsal of an upgrade while tickets are sold: from an earlier build to this one, back, and
//! again to this one, one process after the other in the order of docs/operations.md.

mod archive;

use std::{path::Path, time::Duration};

use anyhow::ensure;

use crate::{
    fault::{Fault, Schedule},
    fleet::{Build, Node, PER_SERVICE, Service},
    run::{Installation, Script, Verdict},
    sale::Halls,
};

/// The order of the upgrade; the way back has the opposite order.
const ORDER: [Service; 4] =
    [Service::WaitingRoom, Service::Notifier, Service::Ingress, Service::Allocator];
const MIGRATE_AT: Duration = Duration::from_secs(3);
/// Time between two processes, so that one has started and is known to the others.
const PACE: Duration = Duration::from_secs(3);
/// Time of selling on one build before the next step.
const REST: Duration = Duration::from_secs(5);
/// Migrations take longer beside archived bookings: the sale lasts 1 s longer per this number.
const ARCHIVED_PER_SECOND: u32 = 200_000;
const SEATS: u32 = 250;
/// Longest wait of a booking while one process at a time is replaced (goal R9).
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Sells through an upgrade, the way back, and the upgrade again, beside `archived` bookings of
/// past sales.
pub async fn run(
    folder: &Path,
    before: &Path,
    seed: u64,
    archived: u32,
) -> anyhow::Result<Verdict> {
    let installation = Installation::open_before(folder, before).await?;
    if archived > 0 {
        archive::fill(&installation, archived).await?;
    }
    let faults = schedule();
    let n_steps = u32::try_from(faults.len())?;
    let migrating = Duration::from_secs((archived / ARCHIVED_PER_SECOND).into());
    let length = faults.last().map_or(MIGRATE_AT, |(at, _)| *at) + REST + migrating;
    let script = Script { seed, length, seats: SEATS, halls: Halls::Several, faults };
    let verdict = installation.run(&script).await?;
    installation.close().await?;
    let n_done: u32 = verdict.faults.values().sum();
    ensure!(n_done == n_steps, "{n_done} of the {n_steps} steps of the upgrade were done");
    Ok(verdict)
}

fn schedule() -> Schedule {
    let mut schedule = vec![(MIGRATE_AT, Fault::Migrate)];
    let mut at = MIGRATE_AT + REST;
    let back: Vec<Service> = ORDER.into_iter().rev().collect();
    let on = ORDER.to_vec();
    for (order, build) in [(&on, Build::This), (&back, Build::Before), (&on, Build::This)] {
        for service in order {
            for n in 0..PER_SERVICE {
                schedule.push((at, Fault::Replace { node: Node { service: *service, n }, build }));
                at += PACE;
            }
        }
        at += REST;
    }
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_replaced_thrice_and_allocators_are_upgraded_last_and_taken_back_first() {
        let replaced: Vec<(Service, Build)> = schedule()
            .into_iter()
            .filter_map(|(_, fault)| match fault {
                Fault::Replace { node, build } => Some((node.service, build)),
                _ => None,
            })
            .collect();
        assert_eq!(replaced.len(), 3 * ORDER.len() * PER_SERVICE);
        assert_eq!(replaced[7], (Service::Allocator, Build::This));
        assert_eq!(replaced[8], (Service::Allocator, Build::Before));
        assert_eq!(replaced[23], (Service::Allocator, Build::This));
    }
}
