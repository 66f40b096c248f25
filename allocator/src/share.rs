//! Which partitions are ours: shared among the live allocators by rendezvous hashing, so that one
//! that comes or goes moves only its own part.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use contract::{
    deadline::{ALLOCATOR_DEAD_AFTER, ALLOCATOR_HEARTBEAT},
    topology::Partition,
};
use futures_util::{StreamExt as _, stream};
use platform::broker::Link;
use store::{
    StoreResult, allocators,
    partitions::{self, Queued},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::{
    Office,
    backlog::{self, InHand},
    queues::{self, Closing},
    session,
};

/// The broker has this long for what one partition needs; it is tried again a second later.
const LOOK_WAIT: Duration = Duration::from_secs(3);
/// Queues that are looked after at once.
const LOOKS_AT_ONCE: usize = 16;

/// The live allocators, and when they were last heard of.
type Live = (Instant, Vec<Uuid>);

struct Held {
    stop: CancellationToken,
    in_hand: InHand,
    task: JoinHandle<()>,
}

impl Held {
    async fn end(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// What this allocator does for its partitions.
#[derive(Default)]
struct Shares {
    held: HashMap<Partition, Held>,
    /// Queues that are certain to exist, as declared on this connection: a broker that lost its
    /// data has lost its connections, too.
    declared: HashSet<Partition>,
    declared_on: Option<Arc<Link>>,
    closing: HashMap<Partition, Closing>,
}

/// Keeps a session for every partition that is ours, until the shutdown begins.
pub(crate) async fn run(office: Office) {
    let me = Uuid::now_v7();
    let (set_live, live) = watch::channel((Instant::now(), Vec::new()));
    // Apart from the rest: a broker that is slow must not make this allocator look dead.
    let beating = office.shutdown.spawn(beat(office.clone(), me, set_live));
    let mut shares = Shares::default();
    while office.shutdown.sleep(ALLOCATOR_HEARTBEAT).await {
        let (heard, live) = live.borrow().clone();
        if heard.elapsed() > ALLOCATOR_DEAD_AFTER {
            // Others may have our partitions. The fence makes us harmless; stopping makes us quiet.
            shares.end_all().await;
            continue;
        }
        match ours(&office, me, &live).await {
            Ok(ours) => shares.share_out(&office, ours).await,
            Err(error) => {
                warn!("partitions stay as they are: {:#}", anyhow::Error::from(error));
            }
        }
    }
    shares.end_all().await;
    let _ = beating.await;
    if let Err(error) = allocators::leave(&office.pool, me).await {
        warn!("others will notice in a few seconds: {:#}", anyhow::Error::from(error));
    }
}

async fn beat(office: Office, me: Uuid, set_live: watch::Sender<Live>) {
    let name = format!("pid {}", std::process::id());
    loop {
        let asked = Instant::now();
        // One that cannot reach the broker is as good as dead: others may be able to.
        if office.consuming.link().is_some() {
            match allocators::beat(&office.pool, me, &name).await {
                Ok(live) => _ = set_live.send_replace((asked, live)),
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

async fn ours(office: &Office, me: Uuid, live: &[Uuid]) -> StoreResult<Vec<Queued>> {
    partitions::close_ended_sales(&office.pool).await?;
    let queued = partitions::queued(&office.pool).await?;
    Ok(queued.into_iter().filter(|q| winner(live, &q.partition) == Some(me)).collect())
}

/// The allocator with the highest score has the partition. A hash with a name: allocators of
/// different builds must agree.
fn winner(live: &[Uuid], partition: &Partition) -> Option<Uuid> {
    let name = partition.to_string();
    live.iter().copied().max_by_key(|allocator| Uuid::new_v5(allocator, name.as_bytes()))
}

impl Shares {
    async fn share_out(&mut self, office: &Office, ours: Vec<Queued>) {
        let Some(link) = office.consuming.link() else { return };
        if !self.declared_on.as_ref().is_some_and(|known| Arc::ptr_eq(known, &link)) {
            self.declared.clear();
            self.declared_on = Some(Arc::clone(&link));
        }
        let wanted = self.look_after_all(office, &link, ours).await;
        self.closing.retain(|_, closing| !closing.is_over());
        let lost: Vec<Partition> =
            self.held.keys().filter(|partition| !wanted.contains(*partition)).cloned().collect();
        for partition in lost {
            if let Some(session) = self.held.remove(&partition) {
                session.end().await;
            }
        }
        self.held.retain(|_, session| !session.task.is_finished());
        for partition in wanted {
            self.held.entry(partition).or_insert_with_key(|partition| {
                let stop = office.shutdown.child();
                let in_hand = InHand::default();
                let work =
                    session::run(office.clone(), partition.clone(), in_hand.clone(), stop.clone());
                Held { stop, in_hand, task: office.shutdown.spawn(work) }
            });
        }
        let n_held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        metrics::gauge!("usher_partitions_held").set(f64::from(n_held));
        let held = self.held.iter().map(|(partition, held)| (partition, &held.in_hand));
        match timeout(LOOK_WAIT, backlog::record(office, &link, held)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the backlog cannot be written down: {error:#}"),
            Err(_) => warn!("the broker did not answer for the backlog in time"),
        }
    }

    /// Does for every partition's queue what is due. Returns those that are to be consumed. A queue
    /// that the broker does not answer for keeps none of the others waiting.
    async fn look_after_all(
        &mut self,
        office: &Office,
        link: &Link,
        ours: Vec<Queued>,
    ) -> HashSet<Partition> {
        let looks = ours.into_iter().map(|queued| {
            let is_declared = self.declared.contains(&queued.partition);
            let closing = self.closing.get(&queued.partition).copied().unwrap_or_default();
            async move {
                let partition = queued.partition.clone();
                let looking = look_after(office, link, queued, is_declared, closing);
                (partition, timeout(LOOK_WAIT, looking).await)
            }
        });
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect().await;
        let mut wanted = HashSet::new();
        for (partition, looked) in looks {
            match looked {
                Ok(Ok(Look::Open)) => {
                    self.declared.insert(partition.clone());
                    wanted.insert(partition);
                }
                Ok(Ok(Look::Closing(closing, consume))) => {
                    self.declared.remove(&partition);
                    self.closing.insert(partition.clone(), closing);
                    if consume {
                        wanted.insert(partition);
                    }
                }
                Ok(Err(error)) => warn!(%partition, "its queue is not as it should be: {error:#}"),
                Err(_) => warn!(%partition, "the broker did not answer for its queue in time"),
            }
        }
        wanted
    }

    async fn end_all(&mut self) {
        for session in self.held.values() {
            session.stop.cancel();
        }
        for (_, session) in self.held.drain() {
            session.end().await;
        }
    }
}

/// What looking after a queue came to.
enum Look {
    /// It is there and is to be consumed.
    Open,
    /// How far its closing has come, and whether it is to be consumed meanwhile.
    Closing(Closing, bool),
}

/// Does for a partition's queue what is due.
async fn look_after(
    office: &Office,
    link: &Link,
    queued: Queued,
    is_declared: bool,
    mut closing: Closing,
) -> anyhow::Result<Look> {
    let Queued { partition, ready, closed } = queued;
    if closed {
        let consume = queues::close(office, link, &partition, &mut closing).await?;
        return Ok(Look::Closing(closing, consume));
    }
    if !ready || !is_declared {
        queues::open(office, link, &partition).await?;
    }
    Ok(Look::Open)
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
