//! Which partitions are ours: shared among the live allocators by rendezvous hashing, so that one
//! that comes or goes moves only its own part.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use contract::{deadline::ALLOCATOR_HEARTBEAT, topology::Partition};
use platform::broker::Link;
use store::{
    StoreResult, allocators,
    partitions::{self, Queued},
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::{Office, queues, session};

/// While no heartbeat could be written for this long, others may have our partitions.
const SILENT_MAX: std::time::Duration = contract::deadline::ALLOCATOR_DEAD_AFTER;

struct Held {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Keeps a session for every partition that is ours, until the shutdown begins.
pub(crate) async fn run(office: Office) {
    let me = Uuid::now_v7();
    let name = format!("pid {}", std::process::id());
    let mut held: HashMap<Partition, Held> = HashMap::new();
    let mut heard = Instant::now();
    loop {
        match round(&office, me, &name).await {
            Ok(mine) => {
                heard = Instant::now();
                share_out(&office, mine, &mut held).await;
            }
            Err(error) => {
                warn!("cannot say that this allocator is alive: {:#}", anyhow::Error::from(error));
                if heard.elapsed() > SILENT_MAX {
                    // The fence makes us harmless; stopping makes us quiet.
                    stop_all(&mut held).await;
                }
            }
        }
        if !office.shutdown.sleep(ALLOCATOR_HEARTBEAT).await {
            break;
        }
    }
    stop_all(&mut held).await;
    if let Err(error) = allocators::leave(&office.pool, me).await {
        warn!("others will notice in a few seconds: {:#}", anyhow::Error::from(error));
    }
}

async fn round(office: &Office, me: Uuid, name: &str) -> StoreResult<Vec<Queued>> {
    let live = allocators::beat(&office.pool, me, name).await?;
    partitions::close_ended_sales(&office.pool).await?;
    let queued = partitions::queued(&office.pool).await?;
    Ok(queued.into_iter().filter(|q| winner(&live, &q.partition) == Some(me)).collect())
}

/// The allocator with the highest score has the partition.
fn winner(live: &[Uuid], partition: &Partition) -> Option<Uuid> {
    live.iter().copied().max_by_key(|allocator| {
        let mut hasher = DefaultHasher::new();
        (allocator, partition).hash(&mut hasher);
        (hasher.finish(), *allocator)
    })
}

async fn share_out(office: &Office, mine: Vec<Queued>, held: &mut HashMap<Partition, Held>) {
    let Some(link) = office.consuming.link() else { return };
    let mut wanted: HashSet<Partition> = HashSet::new();
    for queued in mine {
        match look_after(office, &link, &queued).await {
            Ok(true) => _ = wanted.insert(queued.partition),
            Ok(false) => {}
            Err(error) => {
                warn!(partition = %queued.partition, "its queue is not as it should be: {error:#}");
            }
        }
    }
    let lost: Vec<Partition> =
        held.keys().filter(|partition| !wanted.contains(*partition)).cloned().collect();
    for partition in lost {
        if let Some(session) = held.remove(&partition) {
            session.stop.cancel();
            let _ = session.task.await;
        }
    }
    held.retain(|_, session| !session.task.is_finished());
    for partition in wanted {
        held.entry(partition).or_insert_with_key(|partition| {
            let stop = office.shutdown.child();
            let work = session::run(office.clone(), partition.clone(), stop.clone());
            Held { stop, task: office.shutdown.spawn(work) }
        });
    }
    metrics::gauge!("usher_partitions_held")
        .set(f64::from(u32::try_from(held.len()).unwrap_or(u32::MAX)));
}

/// Whether there is a queue to consume, after doing for it what is due.
async fn look_after(office: &Office, link: &Arc<Link>, queued: &Queued) -> anyhow::Result<bool> {
    match queued.closed_for {
        None if !queued.ready => queues::open(office, link, &queued.partition).await.map(|()| true),
        None => Ok(true),
        Some(closed_for) => queues::close(office, link, &queued.partition, closed_for).await,
    }
}

async fn stop_all(held: &mut HashMap<Partition, Held>) {
    for session in held.values() {
        session.stop.cancel();
    }
    for (_, session) in held.drain() {
        let _ = session.task.await;
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
