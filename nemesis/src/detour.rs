//! An operator leads what is accepted for a queue elsewhere for a moment, and gives it back late.

use std::time::Duration;

use anyhow::Context as _;
use contract::topology::REQUESTS;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use platform::broker;
use tokio::time::sleep;

use crate::{arena::Arena, sale::Hall};

/// What is accepted within this goes the longer way.
const LED_ASIDE: Duration = Duration::from_secs(1);

/// Keeps what is accepted for the first partition of a run within a second, and puts it into its
/// queue so much later. Nothing of it is lost.
pub async fn hold_back(arena: &Arena, halls: &[Hall], by: Duration) -> anyhow::Result<()> {
    let partition = halls.iter().flat_map(Hall::partitions).next();
    let partition = &partition.context("a run has partitions")?;
    let url = *arena.amqp_urls()?.first().context("there is a broker")?;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let aside = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?;
    let (aside, key) = (aside.name().clone(), partition.routing_key());
    let bind = QueueBindOptions { nowait: false };
    let none = FieldTable::default;
    // What goes both ways for a moment is decided once.
    channel.queue_bind(aside.clone(), REQUESTS.into(), key.as_str().into(), bind, none()).await?;
    broker::unbind_requests(&channel, partition).await?;
    sleep(LED_ASIDE).await;
    broker::bind_requests(&channel, partition).await?;
    channel.queue_unbind(aside.clone(), REQUESTS.into(), key.as_str().into(), none()).await?;
    sleep(by).await;
    let queue = partition.queue();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let publish = BasicPublishOptions { mandatory: true, immediate: false };
    while let Some(kept) =
        channel.basic_get(aside.clone(), BasicGetOptions { no_ack: true }).await?
    {
        channel
            .basic_publish(
                "".into(),
                queue.as_str().into(),
                publish,
                &kept.delivery.data,
                persistent.clone(),
            )
            .await?
            .await?;
    }
    Ok(connection.close(200, "given back".into()).await?)
}
