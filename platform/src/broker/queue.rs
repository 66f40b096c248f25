//! Publishing into a queue by its name, for queues that are no longer bound to their exchange.

use contract::{deadline::CONFIRM_WAIT, topology::Partition};
use lapin::{
    BasicProperties, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::time::timeout;

use super::Link;

/// Puts a persistent message into the queue of a partition. Returns `true` once it is stored, and
/// `false` if there is no such queue. After an error the message may or may not be stored.
///
/// Opens a channel for each call, because lapin attaches a return to the wrong confirm if several
/// publishes share a channel. So this is for rare messages.
pub async fn put_into_queue(
    link: &Link,
    partition: &Partition,
    body: &[u8],
) -> anyhow::Result<bool> {
    let channel = link.channel().await?;
    let putting = async {
        channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        // The default exchange has no alternate exchange: a message without a queue must come back.
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let queue = partition.queue();
        channel
            .basic_publish("".into(), queue.as_str().into(), options, body, properties)
            .await?
            .await
    };
    let put = timeout(CONFIRM_WAIT, putting).await;
    let closing = channel.close(200, "done".into());
    let _ = timeout(CONFIRM_WAIT, closing).await;
    match put?? {
        Confirmation::Ack(returned) => Ok(returned.is_none()),
        Confirmation::Nack(_) => anyhow::bail!("its queue is full or not available"),
        Confirmation::NotRequested => anyhow::bail!("the channel is not in confirm mode"),
    }
}
