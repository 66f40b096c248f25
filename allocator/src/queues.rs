//! The queues of partitions: made when a sale opens, gone when it has closed and is drained.

use contract::{deadline::CONFIRM_WAIT, topology::Partition};
use platform::broker::{self, Link};
use store::partitions;
use tokio::time::Instant;
use tracing::info;

use crate::Office;

/// Declares and binds the queue of a partition and says so in the database.
pub(crate) async fn open(
    office: &Office,
    link: &Link,
    partition: &Partition,
) -> anyhow::Result<()> {
    let channel = link.channel().await?;
    broker::declare_base(&channel).await?;
    broker::declare_requests(&channel, partition).await?;
    partitions::queue_is_ready(&office.pool, partition).await?;
    let _ = channel.close(200, "done".into()).await;
    info!(%partition, "the queue takes requests");
    Ok(())
}

/// How far the closing of a partition's queue has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Closing {
    /// Still bound.
    #[default]
    Bound,
    /// Off the exchange since then; publishes that were on their way may still arrive.
    Unbound(Instant),
    /// Seen without ready messages. Our session has been ended since, so that what it had not
    /// acked is ready again.
    Silent(Instant),
    /// Deleted.
    Over,
}

impl Closing {
    /// Whether there is nothing more to do.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// Takes the next step of closing: off the exchange; wait until nothing can be on its way any
/// more; see that it is empty with nobody consuming it; delete. Returns whether the queue is to
/// be consumed meanwhile.
pub(crate) async fn close(
    office: &Office,
    link: &Link,
    partition: &Partition,
    closing: &mut Closing,
) -> anyhow::Result<bool> {
    let settled = 2 * CONFIRM_WAIT;
    let channel = link.channel().await?;
    let (next, consume) = match *closing {
        Closing::Bound => {
            broker::unbind_requests(&channel, partition).await?;
            (Closing::Unbound(Instant::now()), true)
        }
        Closing::Unbound(since) if since.elapsed() < settled => (Closing::Unbound(since), true),
        Closing::Unbound(since) => match broker::look_at(&channel, partition).await? {
            Some((0, _)) => (Closing::Silent(since), false),
            Some(_) => (Closing::Unbound(since), true),
            None => (gone(office, partition).await?, false),
        },
        Closing::Silent(since) => match broker::look_at(&channel, partition).await? {
            Some((0, 0)) => {
                broker::delete_requests(&channel, partition).await?;
                (gone(office, partition).await?, false)
            }
            Some(_) => (Closing::Unbound(since), true),
            None => (gone(office, partition).await?, false),
        },
        Closing::Over => (Closing::Over, false),
    };
    *closing = next;
    let _ = channel.close(200, "done".into()).await;
    Ok(consume)
}

async fn gone(office: &Office, partition: &Partition) -> anyhow::Result<Closing> {
    partitions::queue_is_gone(&office.pool, partition).await?;
    info!(%partition, "the sale is over and its queue is gone");
    Ok(Closing::Over)
}
