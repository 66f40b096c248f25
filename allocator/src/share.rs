//! Which partitions are ours, and what is done with them.

use std::{collections::HashMap, time::Duration};

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
    let (mut kept, mut backlogs) = (HashMap::new(), Backlogs::new(me));
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
            end_all(&mut kept).await;
            continue;
        }
        let counted = acceptance::undecided(&office.pool).await;
        // Without a count they are shared out as well, only not the busiest first.
        let nothing = HashMap::new();
        match ours(&office, &roster, counted.as_ref().unwrap_or(&nothing)).await {
            Ok(ours) => share_out(&office, ours, &mut kept).await,
            Err(error) => {
                warn!("partitions stay as they are: {:#}", anyhow::Error::from(error));
            }
        }
        // What cannot be counted is not written down: nobody is let in by it.
        let recorded = async { backlogs.record(&office, &kept, &counted?).await };
        if let Err(error) = recorded.await {
            warn!("the backlog cannot be written down: {:#}", anyhow::Error::from(error));
        }
    }
    end_all(&mut kept).await;
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
async fn share_out(office: &Office, ours: Vec<Queued>, kept: &mut HashMap<Partition, Keeper>) {
    kept.retain(|_, keeper| !keeper.is_over());
    let mut left: HashMap<Partition, Keeper> = std::mem::take(kept);
    for Queued { partition, ready: _, closed } in ours {
        let keeper = left
            .remove(&partition)
            .unwrap_or_else(|| Keeper::start(office, partition.clone(), closed));
        keeper.closed.send_if_modified(|was| std::mem::replace(was, closed) != closed);
        kept.insert(partition, keeper);
    }
    end_all(&mut left).await;
    let n_held = u32::try_from(kept.len()).unwrap_or(u32::MAX);
    metrics::gauge!("usher_partitions_held").set(f64::from(n_held));
}

async fn end_all(kept: &mut HashMap<Partition, Keeper>) {
    for keeper in kept.values() {
        keeper.stop();
    }
    for (_, keeper) in kept.drain() {
        keeper.end().await;
    }
}

#[cfg(test)]
mod tests {
    use contract::ShowId;

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
}
