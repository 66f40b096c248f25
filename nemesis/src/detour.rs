//! An operator's act: routes the bookings of one queue to another for a moment, and returns them
//! late.

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

/// Bookings accepted within this time are held back.
const LED_ASIDE: Duration = Duration::from_secs(1);

/// Holds back the bookings that are accepted for the first partition within a second, and puts them
/// into its queue after `by`. None is lost.
pub async fn hold_back(arena: &Arena, halls: &[Hall], by: Duration) -> anyhow::Result<()> {
    let partition = halls.iter().flat_map(Hall::partitions).next();
    let partition = &partition.context("the run has no partition")?;
    let url = *arena.amqp_urls()?.first().context("there is no broker")?;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let aside = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?;
    let (aside, key) = (aside.name().clone(), partition.routing_key());
    let bind = QueueBindOptions { nowait: false };
    let none = FieldTable::default;
    // For a moment messages go both ways; such a booking is decided once.
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
