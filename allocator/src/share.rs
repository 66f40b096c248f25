//! Which partitions this allocator keeps: it starts a keeper for each, and ends it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contract::{deadline::ALLOCATOR_HEARTBEAT, topology::Partition};
use platform::number::float;
use store::{
    StoreResult, acceptance, allocators,
    partitions::{self, Queued},
};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{allocator::Allocator, backlog::Backlogs, keeper::Keeper, roster::Roster};

/// How often the live allocators are read. The partitions of one that leaves are idle for no
/// longer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Keeps every partition of this allocator until the shutdown begins.
pub(crate) async fn run(allocator: Allocator, roster: watch::Sender<Roster>) {
    let me = roster.borrow().me;
    // Heartbeats are a task of their own: one slow statement must not make this allocator look
    // dead.
    let beating = allocator.shutdown.spawn(beat(allocator.clone(), roster));
    let (mut kept, mut backlogs) = (Kept::default(), Backlogs::new(me));
    let mut changes = allocator.roster.clone();
    loop {
        let goes_on = tokio::select! {
            goes_on = allocator.shutdown.sleep(ALLOCATOR_HEARTBEAT) => goes_on,
            _ = changes.changed() => !allocator.shutdown.has_begun(),
        };
        if !goes_on {
            break;
        }
        let roster = allocator.roster.borrow().clone();
        if roster.is_stale() {
            kept.let_go_of_all_but(Vec::new());
            continue;
        }
        let counted = acceptance::undecided(&allocator.following).await;
        // Without counts, partitions are shared out, too, only not the busiest first.
        let nothing = HashMap::new();
        match ours(&allocator, &roster, counted.as_ref().unwrap_or(&nothing)).await {
            Ok(ours) => share_out(&allocator, ours, &mut kept),
            Err(error) => {
                warn!("partitions stay as they are: {:#}", anyhow::Error::from(error));
            }
        }
        // Without counts no backlog is written, so no visitor is admitted by it.
        let recorded = async { backlogs.record(&allocator, &kept.ours, &counted?).await };
        if let Err(error) = recorded.await {
            warn!("the backlog cannot be written: {:#}", anyhow::Error::from(error));
        }
    }
    kept.end().await;
    let _ = beating.await;
    if let Err(error) = allocators::leave(&allocator.following, me).await {
        warn!("not signed off, others notice in seconds: {:#}", anyhow::Error::from(error));
    }
}

/// Writes a heartbeat every second, and reads more often which allocators are alive.
async fn beat(allocator: Allocator, roster: watch::Sender<Roster>) {
    let (me, name) = (roster.borrow().me, format!("pid {}", std::process::id()));
    let mut beaten_at: Option<Instant> = None;
    loop {
        // An allocator without the broker writes none: others may reach the broker.
        if allocator.consuming.first().link().is_some() {
            let heard = async {
                let now = Instant::now();
                if beaten_at.is_none_or(|at| now - at >= ALLOCATOR_HEARTBEAT) {
                    allocators::beat(&allocator.following, me, &name).await?;
                    beaten_at = Some(now);
                }
                allocators::live(&allocator.following).await
            };
            match heard.await {
                Ok(live) => _ = roster.send_if_modified(|roster| roster.hear(live, beaten_at)),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    warn!("cannot say that this allocator is alive: {error:#}");
                }
            }
        }
        if !allocator.shutdown.sleep(LOOK_EVERY).await {
            return;
        }
    }
}

async fn ours(
    allocator: &Allocator,
    roster: &Roster,
    undecided: &HashMap<Partition, i64>,
) -> StoreResult<Vec<Queued>> {
    partitions::open_due_sales(&allocator.following).await?;
    partitions::close_ended_sales(&allocator.following).await?;
    let queued = partitions::queued(&allocator.following).await?;
    let ours = queued.into_iter().filter(|queued| roster.is_ours(&queued.partition));
    Ok(busiest_first(ours.collect(), undecided))
}

/// Puts the partitions with the most undecided requests first. `queued` comes in order of the
/// written backlogs, which do not know what was accepted since a queue was last served.
fn busiest_first(mut queued: Vec<Queued>, undecided: &HashMap<Partition, i64>) -> Vec<Queued> {
    let waiting = |queued: &Queued| undecided.get(&queued.partition).copied().unwrap_or(0);
    queued.sort_by_key(|queued| std::cmp::Reverse(waiting(queued)));
    queued
}

/// Ends the keepers of other allocators' partitions, and starts keepers for `ours`, in the given
/// order: partitions with the most to decide come first.
fn share_out(allocator: &Allocator, ours: Vec<Queued>, kept: &mut Kept) {
    for Queued { partition, ready: _, closed } in kept.let_go_of_all_but(ours) {
        let keeper = kept
            .ours
            .entry(partition)
            .or_insert_with_key(|partition| Keeper::start(allocator, partition.clone(), closed));
        keeper.closed.send_if_modified(|was| std::mem::replace(was, closed) != closed);
    }
    metrics::gauge!("usher_partitions_held").set(float(kept.ours.len()));
}

/// The partitions that this allocator keeps.
#[derive(Default)]
struct Kept {
    ours: HashMap<Partition, Keeper>,
    /// Keepers that were told to stop and have not ended: their queues may be silent, and nothing
    /// waits for them.
    leaving: HashMap<Partition, Keeper>,
}

impl Kept {
    /// Tells all keepers but these to stop. Returns the partitions that can be kept now; one whose
    /// earlier keeper has not ended comes next time.
    fn let_go_of_all_but(&mut self, mut ours: Vec<Queued>) -> Vec<Queued> {
        self.ours.retain(|_, keeper| !keeper.is_over());
        self.leaving.retain(|_, keeper| !keeper.is_over());
        let wanted: HashSet<&Partition> = ours.iter().map(|queued| &queued.partition).collect();
        for (partition, keeper) in self.ours.extract_if(|partition, _| !wanted.contains(partition))
        {
            keeper.stop();
            self.leaving.insert(partition, keeper);
        }
        ours.retain(|queued| !self.leaving.contains_key(&queued.partition));
        ours
    }

    /// Stops all keepers, and waits until they have ended.
    async fn end(mut self) {
        self.let_go_of_all_but(Vec::new());
        for (_, keeper) in self.leaving {
            keeper.end().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contract::ShowId;
    use platform::Shutdown;
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn what_was_accepted_while_nobody_served_it_is_served_first() {
        let tier: contract::TierCode = "STANDARD".parse().unwrap();
        let queued: Vec<Queued> = (0..5)
            .map(|_| Partition { show: ShowId::new(), tier: tier.clone() })
            .map(|partition| Queued { partition, ready: true, closed: false })
            .collect();
        let at = |n: usize| queued[n].partition.clone();
        let undecided = HashMap::from([(at(3), 2), (at(4), 70)]);
        let sorted = busiest_first(queued.clone(), &undecided);
        let order: Vec<Partition> = sorted.into_iter().map(|queued| queued.partition).collect();
        assert_eq!(order, [at(4), at(3), at(0), at(1), at(2)]);
    }

    #[tokio::test]
    async fn who_does_not_let_go_keeps_nobody_waiting_and_is_not_replaced_before_it_has() {
        let partition = Partition { show: ShowId::new(), tier: "STANDARD".parse().unwrap() };
        let ours = vec![Queued { partition: partition.clone(), ready: true, closed: false }];
        let goes = Arc::new(Notify::new());
        let gone = Arc::clone(&goes);
        let shutdown = Shutdown::default();
        let keeper = Keeper::with_task(shutdown.spawn(async move { gone.notified().await }));
        let mut kept = Kept::default();
        kept.ours.insert(partition.clone(), keeper);
        assert_eq!(kept.let_go_of_all_but(ours.clone()).len(), 1, "it stays");
        assert!(kept.ours.contains_key(&partition));
        assert!(kept.let_go_of_all_but(Vec::new()).is_empty(), "it goes, and nobody waits for it");
        assert!(kept.ours.is_empty());
        assert!(kept.let_go_of_all_but(ours.clone()).is_empty(), "two would keep it");
        goes.notify_one();
        shutdown.finish(Duration::from_secs(5)).await;
        assert_eq!(kept.let_go_of_all_but(ours).len(), 1, "it has gone");
    }
}
