//! The queues of partitions: made when a sale opens, gone when it has closed and everything that
//! was accepted for it is decided.
//!
//! What the broker counts proves nothing: a queue that does not answer is said to be empty. A queue
//! goes when the numbers of what was accepted are those of what was decided (`store::acceptance`)
//! and a sentinel has gone through it; see docs/decisions/0024-queues-end-by-proof.md.

use std::{convert::Infallible, time::Duration};

use contract::{deadline::CONFIRM_WAIT, message::Sentinel, topology::Partition};
use platform::{
    broker::{self, Link},
    faults::{Guarantee, sometimes, without},
};
use store::{
    acceptance::{self, Open},
    partitions,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{in_hand::InHand, office::Office};

/// Publishes that were on their way when the queue was unbound have arrived after this.
const SETTLED: Duration = Duration::from_secs(2 * CONFIRM_WAIT.as_secs());
/// How often the proof is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A sentinel that did not come out in this time is sent again, as another one.
const SENTINEL_WAIT: Duration = Duration::from_secs(5);

/// Declares the queue of a partition; binds it where the sale is open, and says so in the database.
pub(crate) async fn declare(
    office: &Office,
    link: &Link,
    partition: &Partition,
    is_closed: bool,
) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    let is_ours = match broker::declare_requests(&channel, partition).await {
        Ok(()) => true,
        // Somebody made one of this name. What was accepted may be in it, so it is served as it
        // is; but no sale opens on it.
        Err(error) if broker::is_foreign(&error) => {
            error!(%partition, "its queue has other arguments than ours: delete it once it is empty");
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
        // A new broker. Only then: for a thousand shows it is a matter of seconds.
        Err(error) if broker::is_not_found(&error) => {
            let channel = link.channel().await?;
            broker::declare_base(&channel).await?;
            broker::bind_requests(&channel, partition).await?;
            channel
        }
        Err(error) => return Err(error.into()),
    };
    let _ = channel.close(200, "done".into()).await;
    if is_ours && partitions::queue_is_ready(&office.pool, partition).await? {
        info!(%partition, "the queue takes requests");
    }
    Ok(())
}

/// Deletes the queue of a partition that is decided, and says so in the database.
pub(crate) async fn delete(
    office: &Office,
    link: &Link,
    partition: &Partition,
) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    broker::delete_requests(&channel, partition).await?;
    partitions::queue_is_gone(&office.pool, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    info!(%partition, "the sale is over and its queue is gone");
    Ok(())
}

/// What the closing of a queue needs to know of the session that consumes it.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The session's epoch, once it has one: then the broker gives it, and nobody else, what is in
    /// the queue.
    pub(crate) epoch: watch::Sender<Option<i64>>,
    /// The last sentinel that came out, with everything before it decided and acked.
    pub(crate) sentinel: watch::Sender<Option<Sentinel>>,
}

/// Waits until the sale has closed, takes the queue off the exchange, and returns `true` once the
/// queue may be deleted; `false` where the sale opens again.
pub(crate) async fn drain(
    office: &Office,
    link: &Link,
    partition: &Partition,
    mut closed: watch::Receiver<bool>,
    passed: &Passed,
    in_hand: &InHand,
) -> bool {
    tokio::select! {
        () = until_closed(office, link, partition, &mut closed) => {}
        never = look_for_what_waits(office, partition, passed, in_hand) => match never {},
    }
    while let Err(error) = unbind(link, partition).await {
        warn!(%partition, "its queue is not unbound yet: {error:#}");
        sleep(LOOK_EVERY).await;
    }
    info!(%partition, "the sale has closed; its queue is drained");
    sleep(SETTLED).await;
    while *closed.borrow() {
        let is_proven = if without(Guarantee::QueueProof) {
            is_said_to_be_empty(link, partition).await
        } else {
            is_decided(office, partition, passed).await
        };
        match is_proven {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => warn!(%partition, "whether all is decided cannot be told: {error:#}"),
        }
        sleep(LOOK_EVERY).await;
    }
    false
}

/// Waits until the sale has closed. Where bookings found no queue though this one is there, it is
/// bound again.
async fn until_closed(
    office: &Office,
    link: &Link,
    partition: &Partition,
    closed: &mut watch::Receiver<bool>,
) {
    let mut missed = office.missed.subscribe();
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
                    info!(%partition, "bookings found no queue: it is bound again");
                    if let Err(error) = bind(link, partition).await {
                        warn!(%partition, "its queue is not bound again yet: {error:#}");
                    }
                }
            }
        }
    }
}

/// Notes of what waits, and is not decided, whether it is in the queue at all: a sentinel comes out
/// behind everything that is in it. What is not was put aside, or is on its way back, or was lost
/// with a queue; it holds nobody up.
async fn look_for_what_waits(
    office: &Office,
    partition: &Partition,
    passed: &Passed,
    in_hand: &InHand,
) -> Infallible {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(idle) = in_hand.idle(Instant::now()) else { continue };
        match goes_through(office, partition, passed).await {
            Ok(true) if in_hand.are_elsewhere(idle) => {
                info!(%partition, ?idle, "accepted, not decided, and not in its queue");
            }
            Ok(_) => {}
            Err(error) => warn!(%partition, "whether its queue is empty cannot be told: {error:#}"),
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

/// Whether everything accepted for the partition is decided: by the numbers, before and after a
/// sentinel went through the queue within one session.
///
/// The session had its epoch when the sentinel was sent, so it was the active consumer, and what
/// earlier sessions had not acked was back in the queue.
async fn is_decided(
    office: &Office,
    partition: &Partition,
    passed: &Passed,
) -> anyhow::Result<bool> {
    if !may_go(partition, acceptance::open_in(&office.pool, partition).await?)
        || !goes_through(office, partition, passed).await?
    {
        return Ok(false);
    }
    Ok(may_go(partition, acceptance::open_in(&office.pool, partition).await?))
}

/// Whether a sentinel has gone through the queue within one session: everything that was in it
/// before is decided.
async fn goes_through(
    office: &Office,
    partition: &Partition,
    passed: &Passed,
) -> anyhow::Result<bool> {
    let epoch = *passed.epoch.borrow();
    let sentinel = Sentinel { sentinel: Uuid::new_v4(), epoch };
    office.publisher.publish("", &partition.queue(), &sentinel.encode()).await?;
    let mut seen = passed.sentinel.subscribe();
    let came_out = seen.wait_for(|seen| *seen == Some(sentinel));
    if !matches!(timeout(SENTINEL_WAIT, came_out).await, Ok(Ok(_))) {
        sometimes("sentinel not seen in time");
        return Ok(false);
    }
    // Without an epoch before, it began the session: the next one counts.
    Ok(epoch.is_some() && *passed.epoch.borrow() == epoch)
}

fn may_go(partition: &Partition, open: Open) -> bool {
    let Open { undecided, untold, is_long_over } = open;
    if undecided == 0 && !untold {
        return true;
    }
    if is_long_over {
        // It is in no queue any more; `usher audit` goes on naming it.
        error!(%partition, undecided, "accepted and never decided: its queue is given up after a day");
        metrics::counter!("usher_queues_given_up_total").increment(1);
    }
    is_long_over
}

/// What a control believes instead of a proof.
async fn is_said_to_be_empty(link: &Link, partition: &Partition) -> anyhow::Result<bool> {
    let channel = link.channel().await?;
    let looked = broker::look_at(&channel, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(looked.is_none_or(|(ready, _)| ready == 0))
}
