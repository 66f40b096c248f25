//! The keeper of one partition: declares its queue, consumes the queue in one session after the
//! other, and deletes the queue when the sale is over. A fault of one queue stays with its keeper.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use contract::topology::Partition;
use platform::broker::{Broker, ConsumerSlot, Link, NoConsumer};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    allocator::Allocator,
    in_hand::InHand,
    locks::Locks,
    queues,
    session::{self, Over},
};

/// Most queues declared at once: after a takeover every partition needs its queue.
pub(crate) const DECLARES_MAX: usize = 16;
/// Longest wait for the broker to declare or delete a queue; then it is tried again.
const DECLARE_WAIT: Duration = Duration::from_secs(5);
/// Pause between two sessions …
const PAUSE: Duration = Duration::from_millis(200);
/// … and the longest one, if one session after the other fails.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A session that lasted this long resets the pause.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// A partition that this allocator keeps.
pub(crate) struct Keeper {
    /// Whether the sale has closed.
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) in_hand: InHand,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins to keep a partition.
    pub(crate) fn start(allocator: &Allocator, partition: Partition, is_closed: bool) -> Self {
        let (stop, in_hand) = (allocator.shutdown.child(), InHand::default());
        let closed = watch::Sender::new(is_closed);
        let keeping =
            keep(allocator.clone(), partition, in_hand.clone(), closed.subscribe(), stop.clone());
        Self { closed, in_hand, stop, task: allocator.shutdown.spawn(keeping) }
    }

    /// Whether the keeper has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Asks the keeper to end, without waiting.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the keeper and waits until it has ended.
    pub(crate) async fn end(self) {
        self.stop();
        let _ = self.task.await;
    }

    #[cfg(test)]
    pub(crate) fn with_task(task: JoinHandle<()>) -> Self {
        let (closed, in_hand) = (watch::Sender::new(false), InHand::default());
        Self { closed, in_hand, stop: CancellationToken::new(), task }
    }
}

async fn keep(
    allocator: Allocator,
    partition: Partition,
    in_hand: InHand,
    closed: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let locks = Arc::new(Locks::new(partition.clone()));
    tokio::select! {
        () = locks.keep(&allocator) => {}
        () = serve(&allocator, &partition, &locks, &in_hand, closed, &stop) => {}
    }
}

async fn serve(
    allocator: &Allocator,
    partition: &Partition,
    locks: &Arc<Locks>,
    in_hand: &InHand,
    closed: watch::Receiver<bool>,
    stop: &CancellationToken,
) {
    let (mut pause, mut are_locks_awaited, mut is_suspect) = (PAUSE, false, false);
    let _not_for_good = allocator.waiting.until_dropped(partition);
    while let Some((_place, link)) = next_place(allocator, partition, stop).await {
        let began = Instant::now();
        let session = async {
            let is_closed = *closed.borrow();
            let ready = async {
                declare(allocator, &link, partition, is_closed).await?;
                if is_suspect {
                    try_out(allocator, partition).await?;
                }
                if !are_locks_awaited {
                    locks.ready().await;
                    are_locks_awaited = true;
                }
                anyhow::Ok(())
            };
            // Getting ready may take long: hundreds of partitions may come first, trials wait for
            // each other, and the queue may be silent. A keeper that is told to stop does not wait
            // for that.
            stop.run_until_cancelled(ready).await.context("the partition was given up")??;
            let link = Arc::clone(&link);
            session::run(allocator, partition, locks, in_hand, link, closed.clone(), stop).await
        };
        match session.await {
            Ok(Over::Lost | Over::Reopened) => is_suspect = false,
            Ok(Over::Drained) => {
                let deleting = timeout(DECLARE_WAIT, queues::delete(allocator, &link, partition));
                match stop.run_until_cancelled(deleting).await {
                    None | Some(Ok(Ok(()))) => return,
                    Some(Ok(Err(error))) => {
                        warn!(%partition, "the queue is not deleted yet: {error:#}");
                    }
                    Some(Err(_)) => warn!(%partition, "the queue is not deleted yet: no answer"),
                }
            }
            Err(_) if stop.is_cancelled() => return,
            Err(error) => {
                metrics::counter!("usher_sessions_failed_total").increment(1);
                is_suspect |= error.is::<NoConsumer>();
                if let Some(unsaid) = allocator.lines.may_be_written("session", Instant::now()) {
                    warn!(%partition, unsaid, "not served at the moment: {error:#}");
                }
            }
        }
        pause = if began.elapsed() > GOOD_SESSION { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// A slot for the next session, on a connection that is up. Each session takes a new slot,
/// because a connection that comes back may have fewer channels than before.
async fn next_place(
    allocator: &Allocator,
    partition: &Partition,
    stop: &CancellationToken,
) -> Option<(ConsumerSlot, Arc<Link>)> {
    // Wait for the first connection, which tells how many channels a connection has.
    next_link(&mut allocator.consuming.first(), stop).await?;
    match allocator.consuming.slot() {
        Ok(slot) => {
            let link = next_link(&mut slot.broker.clone(), stop).await?;
            Some((slot, link))
        }
        // Not expected: the address was parsed before.
        Err(error) => {
            warn!(%partition, "the partition has no connection: {error:#}");
            None
        }
    }
}

async fn next_link(broker: &mut Broker, stop: &CancellationToken) -> Option<Arc<Link>> {
    tokio::select! {
        () = stop.cancelled() => None,
        link = broker.link_soon() => link.filter(|_| !stop.is_cancelled()),
    }
}

/// Declares the queue before every session: the last session may have ended because the queue was
/// deleted or the broker lost its data.
async fn declare(
    allocator: &Allocator,
    link: &Link,
    partition: &Partition,
    is_closed: bool,
) -> anyhow::Result<()> {
    let _turn = allocator.declares.acquire().await?;
    timeout(DECLARE_WAIT, queues::declare(allocator, link, partition, is_closed)).await?
}

/// Tries a queue on another connection, after the broker gave no consumer of it, before it is
/// consumed on a connection that others use.
async fn try_out(allocator: &Allocator, partition: &Partition) -> anyhow::Result<()> {
    let tried = allocator.consuming.try_out(&partition.queue()).await;
    let outcome = match &tried {
        Ok(()) => "served",
        Err(error) if error.is::<NoConsumer>() => "refused",
        Err(_) => "unknown",
    };
    metrics::counter!("usher_queue_trials_total", "outcome" => outcome).increment(1);
    let advice =
        "if it stays so, see \"A queue that the broker cannot serve\" in docs/operations.md";
    tried.context(advice)
}
