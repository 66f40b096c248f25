//! Which partitions are ours, and what is done with them.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contract::{deadline::ALLOCATOR_HEARTBEAT, topology::Partition};
use store::{
    StoreResult, acceptance, allocators,
    partitions::{self, Queued},
};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{backlog::Backlogs, keeper::Keeper, office::Office, roster::Roster};

/// How often it is looked who is alive: what one that leaves had is idle for no longer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Keeps every partition that is ours, until the shutdown begins.
pub(crate) async fn run(office: Office, roster: watch::Sender<Roster>) {
    let me = roster.borrow().me;
    // Apart from the rest: a database that is slow for one statement must not make us look dead.
    let beating = office.shutdown.spawn(beat(office.clone(), roster));
    let (mut kept, mut backlogs) = (Kept::default(), Backlogs::new(me));
    let mut changes = office.roster.clone();
    loop {
        let goes_on = tokio::select! {
            goes_on = office.shutdown.sleep(ALLOCATOR_HEARTBEAT) => goes_on,
            _ = changes.changed() => !office.shutdown.has_begun(),
        };
        if !goes_on {
            break;
        }
        let roster = office.roster.borrow().clone();
        if roster.is_stale() {
            kept.let_go_of_all_but(Vec::new());
            continue;
        }
        let counted = acceptance::undecided(&office.pool).await;
        // Without a count they are shared out as well, only not the busiest first.
        let nothing = HashMap::new();
        match ours(&office, &roster, counted.as_ref().unwrap_or(&nothing)).await {
            Ok(ours) => share_out(&office, ours, &mut kept),
            Err(error) => {
                warn!("partitions stay as they are: {:#}", anyhow::Error::from(error));
            }
        }
        // What cannot be counted is not written down: nobody is let in by it.
        let recorded = async { backlogs.record(&office, &kept.ours, &counted?).await };
        if let Err(error) = recorded.await {
            warn!("the backlog cannot be written down: {:#}", anyhow::Error::from(error));
        }
    }
    kept.end().await;
    let _ = beating.await;
    if let Err(error) = allocators::leave(&office.pool, me).await {
        warn!("others will notice in a few seconds: {:#}", anyhow::Error::from(error));
    }
}

/// Says every second that this allocator is alive, and looks more often who else is.
async fn beat(office: Office, roster: watch::Sender<Roster>) {
    let (me, name) = (roster.borrow().me, format!("pid {}", std::process::id()));
    let mut beaten_at: Option<Instant> = None;
    loop {
        // One that cannot reach the broker is as good as dead: others may be able to.
        if office.consuming.first().link().is_some() {
            let heard = async {
                let now = Instant::now();
                if beaten_at.is_none_or(|at| now - at >= ALLOCATOR_HEARTBEAT) {
                    allocators::beat(&office.pool, me, &name).await?;
                    beaten_at = Some(now);
                }
                allocators::live(&office.pool).await
            };
            match heard.await {
                Ok(live) => _ = roster.send_if_modified(|roster| roster.hear(live, beaten_at)),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    warn!("cannot say that this allocator is alive: {error:#}");
                }
            }
        }
        if !office.shutdown.sleep(LOOK_EVERY).await {
            return;
        }
    }
}

async fn ours(
    office: &Office,
    roster: &Roster,
    undecided: &HashMap<Partition, i64>,
) -> StoreResult<Vec<Queued>> {
    partitions::open_due_sales(&office.pool).await?;
    partitions::close_ended_sales(&office.pool).await?;
    let queued = partitions::queued(&office.pool).await?;
    let ours = queued.into_iter().filter(|queued| roster.is_ours(&queued.partition));
    Ok(busiest_first(ours.collect(), undecided))
}

/// Those with the most to decide come first; the others stay as they are. What was written down of
/// a queue while somebody served it does not know what was accepted since.
fn busiest_first(mut queued: Vec<Queued>, undecided: &HashMap<Partition, i64>) -> Vec<Queued> {
    let waiting = |queued: &Queued| undecided.get(&queued.partition).copied().unwrap_or(0);
    queued.sort_by_key(|queued| std::cmp::Reverse(waiting(queued)));
    queued
}

/// Lets go of what is not ours any more, and begins to keep what is, in the order in which it was
/// given: those with the most to decide first.
fn share_out(office: &Office, ours: Vec<Queued>, kept: &mut Kept) {
    for Queued { partition, ready: _, closed } in kept.let_go_of_all_but(ours) {
        let keeper = kept
            .ours
            .entry(partition)
            .or_insert_with_key(|partition| Keeper::start(office, partition.clone(), closed));
        keeper.closed.send_if_modified(|was| std::mem::replace(was, closed) != closed);
    }
    let n_held = u32::try_from(kept.ours.len()).unwrap_or(u32::MAX);
    metrics::gauge!("usher_partitions_held").set(f64::from(n_held));
}

/// The partitions that are kept.
#[derive(Default)]
struct Kept {
    ours: HashMap<Partition, Keeper>,
    /// Let go of, and not over yet: their queues may be silent, and nobody else waits for them.
    leaving: HashMap<Partition, Keeper>,
}

impl Kept {
    /// Begins to let go of all but these. Returns those that can be kept: where an earlier keeper is
    /// not over yet, its turn comes with the next look.
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

    /// Lets go of everything, and waits until that is done.
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
        let keeper = Keeper::of(shutdown.spawn(async move { gone.notified().await }));
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
