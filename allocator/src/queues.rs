//! The queues of partitions: made when a sale opens, gone when it has closed and is drained.

use contract::{deadline::CONFIRM_WAIT, topology::Partition};
use platform::broker::{self, Link};
use store::partitions;
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

/// Takes the queue of a closed sale off the exchange; and once nothing can be on its way to it
/// any more and it is empty, deletes it. `closed_for` is how long the sale has been closed. Returns
/// whether the queue is still there.
pub(crate) async fn close(
    office: &Office,
    link: &Link,
    partition: &Partition,
    closed_for: chrono::Duration,
) -> anyhow::Result<bool> {
    let channel = link.channel().await?;
    broker::unbind_requests(&channel, partition).await?;
    let settled = chrono::Duration::from_std(2 * CONFIRM_WAIT)?;
    let is_done = closed_for > settled && broker::is_drained(&channel, partition).await?;
    if is_done {
        broker::delete_requests(&channel, partition).await?;
        partitions::queue_is_gone(&office.pool, partition).await?;
        info!(%partition, "the sale is over and its queue is gone");
    }
    let _ = channel.close(200, "done".into()).await;
    Ok(!is_done)
}
