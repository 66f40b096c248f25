//! The queues of partitions: made when a sale opens, deleted when it has closed and every accepted
//! request is decided.
//!
//! The broker's counts prove nothing, because it reports a queue that does not answer as empty. A
//! queue is deleted when the accepted numbers equal the decided ones (`store::acceptance`) and a
//! sentinel has gone through the queue; see docs/decisions/0024-queues-end-by-proof.md.

use std::{convert::Infallible, time::Duration};

use contract::{deadline::CONFIRM_WAIT, message::Sentinel, topology::Partition};
use platform::{
    broker::{self, Link},
    faults::{Guarantee, without},
};
use store::{
    acceptance::{self, Unfinished},
    partitions,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{allocator::Allocator, in_hand::InHand};

/// Time after which publishes that were on their way when the queue was unbound have arrived.
const SETTLED: Duration = Duration::from_secs(2 * CONFIRM_WAIT.as_secs());
/// How often the proof is tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a sentinel; then another one is sent.
const SENTINEL_WAIT: Duration = Duration::from_secs(5);

/// Declares the queue of a partition. If the sale is open, also binds it and notes that in the
/// database.
pub(crate) async fn declare(
    allocator: &Allocator,
    link: &Link,
    partition: &Partition,
    is_closed: bool,
) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    let is_ours = match broker::declare_requests(&channel, partition).await {
        Ok(()) => true,
        // The queue was made by somebody else. It may hold accepted requests, so it is served as it
        // is, but no sale opens on it.
        Err(error) if broker::is_foreign(&error) => {
            error!(%partition, "its arguments are not Usher's: delete the queue once it is empty");
            metrics::counter!("usher_queue_foreign_total").increment(1);
            false
        }
        Err(error) => return Err(error.into()),
    };
    if is_closed {
        return Ok(());
    }
    let channel = if is_ours { channel } else { link.channel().await? };
    let channel = match broker::bind_requests(&channel, partition).await {
        Ok(()) => channel,
        // A new broker: declare the exchanges. Not done every time, because for a thousand shows it
        // takes seconds.
        Err(error) if broker::is_not_found(&error) => {
            let channel = link.channel().await?;
            broker::declare_base(&channel).await?;
            broker::bind_requests(&channel, partition).await?;
            channel
        }
        Err(error) => return Err(error.into()),
    };
    let _ = channel.close(200, "done".into()).await;
    if is_ours && partitions::queue_is_ready(&allocator.pool, partition).await? {
        info!(%partition, "the queue takes requests");
    }
    Ok(())
}

/// Deletes the queue of a partition that is decided, and notes that in the database.
pub(crate) async fn delete(
    allocator: &Allocator,
    link: &Link,
    partition: &Partition,
) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    broker::delete_requests(&channel, partition).await?;
    partitions::queue_is_gone(&allocator.pool, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    info!(%partition, "the sale is over and its queue is gone");
    Ok(())
}

/// What the closing of a queue needs to know of the session that consumes it.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The session's epoch, once it has one. From then on the broker delivers the queue to this
    /// session alone.
    pub(crate) epoch: watch::Sender<Option<i64>>,
    /// The last sentinel consumed, with everything before it decided and acked.
    pub(crate) sentinel: watch::Sender<Option<Sentinel>>,
}

/// Waits until the sale has closed, unbinds the queue, and returns `true` once the queue may be
/// deleted; `false` if the sale opens again.
pub(crate) async fn drain(
    allocator: &Allocator,
    link: &Link,
    partition: &Partition,
    mut closed: watch::Receiver<bool>,
    passed: &Passed,
    in_hand: &InHand,
) -> bool {
    tokio::select! {
        () = until_closed(allocator, link, partition, &mut closed) => {}
        never = look_for_what_waits(allocator, partition, passed, in_hand) => match never {},
    }
    while let Err(error) = unbind(link, partition).await {
        warn!(%partition, "the queue is not unbound yet: {error:#}");
        sleep(LOOK_EVERY).await;
    }
    info!(%partition, "the sale has closed; its queue is drained");
    sleep(SETTLED).await;
    while *closed.borrow() {
        let is_proven = if without(Guarantee::QueueProof) {
            is_said_to_be_empty(link, partition).await
        } else {
            is_decided(allocator, partition, passed).await
        };
        match is_proven {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => warn!(%partition, "cannot tell whether all is decided: {error:#}"),
        }
        sleep(LOOK_EVERY).await;
    }
    false
}

/// Waits until the sale has closed. If bookings found no queue although this one is there, it is
/// bound again.
async fn until_closed(
    allocator: &Allocator,
    link: &Link,
    partition: &Partition,
    closed: &mut watch::Receiver<bool>,
) {
    let mut missed = allocator.missed.subscribe();
    loop {
        tokio::select! {
            is_over = async { closed.wait_for(|closed| *closed).await.is_ok() } => {
                if is_over {
                    return;
                }
                return std::future::pending().await;
            }
            Ok(()) = missed.changed() => {
                let is_missed = missed.borrow_and_update().contains(partition);
                if is_missed {
                    info!(%partition, "bookings found no queue: the queue is bound again");
                    if let Err(error) = bind(link, partition).await {
                        warn!(%partition, "the queue is not bound again yet: {error:#}");
                    }
                }
            }
        }
    }
}

/// Checks whether waiting bookings are in the queue at all: a sentinel comes out behind everything
/// that is in it. Bookings that are not were set aside, are on their way back, or were lost with a
/// queue. They are noted, so that they do not hold up admission.
async fn look_for_what_waits(
    allocator: &Allocator,
    partition: &Partition,
    passed: &Passed,
    in_hand: &InHand,
) -> Infallible {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(idle) = in_hand.idle(Instant::now()) else { continue };
        match goes_through(allocator, partition, passed).await {
            Ok(true) if in_hand.are_elsewhere(idle) => {
                info!(%partition, ?idle, "accepted bookings are neither decided nor in the queue");
            }
            Ok(_) => {}
            Err(error) => warn!(%partition, "cannot tell whether the queue is empty: {error:#}"),
        }
    }
}

async fn bind(link: &Link, partition: &Partition) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    broker::bind_requests(&channel, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

async fn unbind(link: &Link, partition: &Partition) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    broker::unbind_requests(&channel, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

/// Whether everything accepted for the partition is decided. The numbers are compared before and
/// after a sentinel goes through the queue within one session.
///
/// The session had its epoch when the sentinel was sent, so it was the active consumer, and
/// deliveries that earlier sessions had not acked were back in the queue.
async fn is_decided(
    allocator: &Allocator,
    partition: &Partition,
    passed: &Passed,
) -> anyhow::Result<bool> {
    if !may_go(partition, acceptance::unfinished_in(&allocator.pool, partition).await?)
        || !goes_through(allocator, partition, passed).await?
    {
        return Ok(false);
    }
    Ok(may_go(partition, acceptance::unfinished_in(&allocator.pool, partition).await?))
}

/// Whether a sentinel has gone through the queue within one session: everything that was in it
/// before is decided.
async fn goes_through(
    allocator: &Allocator,
    partition: &Partition,
    passed: &Passed,
) -> anyhow::Result<bool> {
    let epoch = *passed.epoch.borrow();
    let sentinel = Sentinel { sentinel: Uuid::new_v4(), epoch };
    allocator.publisher.publish("", &partition.queue(), &sentinel.encode()).await?;
    let mut seen = passed.sentinel.subscribe();
    let came_out = seen.wait_for(|seen| *seen == Some(sentinel));
    if !matches!(timeout(SENTINEL_WAIT, came_out).await, Ok(Ok(_))) {
        return Ok(false);
    }
    // If there was no epoch, the sentinel itself began the session: the next sentinel counts.
    Ok(epoch.is_some() && *passed.epoch.borrow() == epoch)
}

fn may_go(partition: &Partition, unfinished: Unfinished) -> bool {
    let Unfinished { undecided, untold, is_long_over } = unfinished;
    if undecided == 0 && !untold {
        return true;
    }
    if is_long_over {
        // These bookings are in no queue any more; `usher audit` still reports them.
        error!(%partition, undecided, "bookings never decided: their queue is deleted after a day");
        metrics::counter!("usher_queues_given_up_total").increment(1);
    }
    is_long_over
}

/// What the control without [`Guarantee::QueueProof`] takes for a proof.
async fn is_said_to_be_empty(link: &Link, partition: &Partition) -> anyhow::Result<bool> {
    let channel = link.channel().await?;
    let looked = broker::look_at(&channel, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(looked.is_none_or(|(ready, _)| ready == 0))
}
