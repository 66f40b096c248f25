//! The events that a subscriber heard against the outbox: each at least once, and no other.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use contract::{message::EventMessage, topology::EVENTS};
use futures_util::{StreamExt as _, TryStreamExt as _};
use lapin::{
    Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use uuid::Uuid;

use super::scene::{Findings, Scene};
use crate::arena::Arena;

/// A queue for events like the notifier's; it is read only after the sale.
const QUEUE: &str = "chaos.events";
const HEARD_WITHIN: Duration = Duration::from_secs(30);
const DURABLE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// Makes the queue, which gets every event from now on.
pub async fn subscribe(arena: &Arena) -> anyhow::Result<()> {
    let (connection, channel) = connect(arena).await?;
    platform::broker::declare_base(&channel).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), DURABLE, arguments).await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(QUEUE.into(), EVENTS.into(), "#".into(), options, none).await?;
    Ok(connection.close(200, "subscribed".into()).await?)
}

pub(super) async fn check(scene: &Scene<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let hearing = tokio::time::timeout(HEARD_WITHIN, hear(scene));
    let heard = hearing.await.context("the broker does not deliver the events")??;
    let rows: Vec<(Uuid, i32)> =
        sqlx::query_as("select booking_id, seq from outbox_events where show_id = any($1)")
            .bind(scene.shows())
            .fetch_all(scene.pool)
            .await?;
    let told: BTreeSet<(Uuid, i32)> = rows.into_iter().collect();
    for (booking, seq) in told.difference(&heard) {
        findings.add("events that nobody heard", format!("{booking} seq {seq}"));
    }
    for (booking, seq) in heard.difference(&told) {
        findings.add("events of what never was", format!("{booking} seq {seq}"));
    }
    Ok(())
}

/// Every event of the run's shows in the queue, by booking and step.
async fn hear(scene: &Scene<'_>) -> anyhow::Result<BTreeSet<(Uuid, i32)>> {
    let (connection, channel) = connect(scene.arena).await?;
    let passive = QueueDeclareOptions { passive: true, ..DURABLE };
    let queue = channel.queue_declare(QUEUE.into(), passive, FieldTable::default()).await?;
    let n = usize::try_from(queue.message_count())?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(QUEUE.into(), "".into(), options, none).await?;
    let messages: Vec<Delivery> = consumer.take(n).try_collect().await?;
    let mut heard = BTreeSet::new();
    for message in &messages {
        let events = EventMessage::decode(&message.data)?;
        let ours = events.iter().filter(|event| scene.shows().contains(&event.show_id.0));
        heard.extend(ours.map(|event| (event.booking_id.0, event.seq)));
    }
    if let Some(last) = messages.last() {
        last.acker.ack(BasicAckOptions { multiple: true }).await?;
    }
    connection.close(200, "heard".into()).await?;
    Ok(heard)
}

async fn connect(arena: &Arena) -> anyhow::Result<(Connection, Channel)> {
    let url = *arena.amqp_urls()?.first().context("there is no broker")?;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
