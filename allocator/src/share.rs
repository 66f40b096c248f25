//! Which partitions are ours: shared among the live allocators by rendezvous hashing, so that one
//! that comes or goes moves only its own part.

use std::collections::HashMap;

use contract::{
    deadline::{ALLOCATOR_DEAD_AFTER, ALLOCATOR_HEARTBEAT},
    topology::Partition,
};
use store::{
    StoreResult, allocators,
    partitions::{self, Queued},
};
use tokio::{sync::watch, time::Instant};
use tracing::warn;
use uuid::Uuid;

use crate::{Office, backlog::Backlogs, keeper::Keeper};

/// The live allocators, as last heard.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    pub(crate) me: Uuid,
    live: Vec<Uuid>,
    heard_at: Instant,
}

impl Roster {
    /// Nobody is known yet.
    pub(crate) fn new() -> Self {
        Self { me: Uuid::now_v7(), live: Vec::new(), heard_at: Instant::now() }
    }

    /// Whether a partition is this allocator's.
    pub(crate) fn is_ours(&self, partition: &Partition) -> bool {
        winner(&self.live, partition) == Some(self.me)
    }

    /// Others may have our partitions. The fence makes us harmless; stopping makes us quiet.
    fn is_stale(&self) -> bool {
        self.heard_at.elapsed() > ALLOCATOR_DEAD_AFTER
    }
}

/// The allocator with the highest score has the partition. A hash with a name: allocators of
/// different builds must agree.
fn winner(live: &[Uuid], partition: &Partition) -> Option<Uuid> {
    let name = partition.to_string();
    live.iter().copied().max_by_key(|allocator| Uuid::new_v5(allocator, name.as_bytes()))
}

/// Keeps every partition that is ours, until the shutdown begins.
pub(crate) async fn run(office: Office, roster: watch::Sender<Roster>) {
    let me = roster.borrow().me;
    // Apart from the rest: a database that is slow for one statement must not make us look dead.
    let beating = office.shutdown.spawn(beat(office.clone(), roster));
    let (mut kept, mut backlogs) = (HashMap::new(), Backlogs::new(me));
    while office.shutdown.sleep(ALLOCATOR_HEARTBEAT).await {
        let roster = office.roster.borrow().clone();
        if roster.is_stale() {
            end_all(&mut kept).await;
            continue;
        }
        match ours(&office, &roster).await {
            Ok(ours) => share_out(&office, ours, &mut kept).await,
            Err(error) => {
                warn!("partitions stay as they are: {:#}", anyhow::Error::from(error));
            }
        }
        if let Err(error) = backlogs.record(&office, &kept).await {
            warn!("the backlog cannot be written down: {:#}", anyhow::Error::from(error));
        }
    }
    end_all(&mut kept).await;
    let _ = beating.await;
    if let Err(error) = allocators::leave(&office.pool, me).await {
        warn!("others will notice in a few seconds: {:#}", anyhow::Error::from(error));
    }
}

async fn beat(office: Office, roster: watch::Sender<Roster>) {
    let (me, name) = (roster.borrow().me, format!("pid {}", std::process::id()));
    loop {
        let heard_at = Instant::now();
        // One that cannot reach the broker is as good as dead: others may be able to.
        if office.consuming.first().link().is_some() {
            match allocators::beat(&office.pool, me, &name).await {
                Ok(live) => _ = roster.send_replace(Roster { me, live, heard_at }),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    warn!("cannot say that this allocator is alive: {error:#}");
                }
            }
        }
        if !office.shutdown.sleep(ALLOCATOR_HEARTBEAT).await {
            return;
        }
    }
}

async fn ours(office: &Office, roster: &Roster) -> StoreResult<Vec<Queued>> {
    partitions::open_due_sales(&office.pool).await?;
    partitions::close_ended_sales(&office.pool).await?;
    let queued = partitions::queued(&office.pool).await?;
    Ok(queued.into_iter().filter(|queued| roster.is_ours(&queued.partition)).collect())
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
    fn an_allocator_that_goes_moves_only_its_own_partitions() {
        let live: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
        let tier: contract::TierCode = "STANDARD".parse().unwrap();
        let partitions: Vec<Partition> =
            (0..200).map(|_| Partition { show: ShowId::new(), tier: tier.clone() }).collect();
        let mut reversed = live.clone();
        reversed.reverse();
        for partition in &partitions {
            let before = winner(&live, partition).unwrap();
            assert_eq!(winner(&reversed, partition), Some(before));
            let after = winner(&live[1..], partition).unwrap();
            assert!(before == live[0] || before == after);
        }
        let first = partitions.iter().filter(|p| winner(&live, p) == Some(live[0])).count();
        assert!((10..80).contains(&first), "a fifth of 200, roughly: {first}");
    }
}
