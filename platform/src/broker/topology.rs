//! Declares what `contract::topology` names. Every flag and argument is written out: defaults
//! differ between RabbitMQ 3.10 and 4.x.

use contract::topology::{
    DELIVERY_LIMIT, EVENTS, LIVE_QUEUE_MESSAGES_MAX, MAIL_QUEUE_MESSAGES_MAX, MAILS, PARKED,
    Partition, REQUEST_QUEUE_BYTES_MAX, REQUEST_QUEUE_MESSAGES_MAX, REQUESTS, UNROUTED,
};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

const DURABLE_EXCHANGE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};

const DURABLE_QUEUE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

const BIND: QueueBindOptions = QueueBindOptions { nowait: false };

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

/// Declares the exchanges, the parked queue and the unrouted queue. Safe to repeat.
pub async fn declare_base(channel: &Channel) -> lapin::Result<()> {
    let declare = |name: &'static str, kind: ExchangeKind, arguments: FieldTable| {
        channel.exchange_declare(name.into(), kind, DURABLE_EXCHANGE, arguments)
    };
    let mut with_alternate = FieldTable::default();
    // Messages without a queue go there, so that a confirm always means stored.
    with_alternate.insert("alternate-exchange".into(), text(UNROUTED));
    declare(UNROUTED, ExchangeKind::Fanout, FieldTable::default()).await?;
    declare(PARKED, ExchangeKind::Fanout, FieldTable::default()).await?;
    declare(REQUESTS, ExchangeKind::Direct, with_alternate).await?;
    declare(EVENTS, ExchangeKind::Topic, FieldTable::default()).await?;
    for name in [UNROUTED, PARKED] {
        let mut arguments = quorum();
        // Both queues hold accepted bookings: no message may be dropped, however often it comes
        // back.
        arguments.insert("x-overflow".into(), text("reject-publish"));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(1_000_000));
        channel.queue_declare(name.into(), DURABLE_QUEUE, arguments).await?;
        channel
            .queue_bind(name.into(), name.into(), "".into(), BIND, FieldTable::default())
            .await?;
    }
    Ok(())
}

/// Declares the queue of one partition. Safe to repeat.
pub async fn declare_requests(channel: &Channel, partition: &Partition) -> lapin::Result<()> {
    let mut arguments = quorum();
    // One active consumer at a time, even if two allocators both take the partition for theirs.
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments.insert("x-dead-letter-exchange".into(), text(PARKED));
    // A parked booking must not be lost between two queues; needs reject-publish below.
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(REQUEST_QUEUE_MESSAGES_MAX));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(REQUEST_QUEUE_BYTES_MAX));
    channel.queue_declare(partition.queue().as_str().into(), DURABLE_QUEUE, arguments).await?;
    Ok(())
}

/// Binds a partition's queue to the exchange of requests. Safe to repeat.
pub async fn bind_requests(channel: &Channel, partition: &Partition) -> lapin::Result<()> {
    let (queue, key) = (partition.queue(), partition.routing_key());
    channel
        .queue_bind(
            queue.as_str().into(),
            REQUESTS.into(),
            key.as_str().into(),
            BIND,
            FieldTable::default(),
        )
        .await
}

/// Unbinds a partition's queue from the exchange. Requests that still arrive go to the unrouted
/// queue.
pub async fn unbind_requests(channel: &Channel, partition: &Partition) -> lapin::Result<()> {
    let (queue, key) = (partition.queue(), partition.routing_key());
    channel
        .queue_unbind(
            queue.as_str().into(),
            REQUESTS.into(),
            key.as_str().into(),
            FieldTable::default(),
        )
        .await
}

/// Deletes a partition's queue. The caller must have proof that everything in it is decided.
pub async fn delete_requests(channel: &Channel, partition: &Partition) -> lapin::Result<u32> {
    let options = QueueDeleteOptions { if_unused: false, if_empty: false, nowait: false };
    channel.queue_delete(partition.queue().as_str().into(), options).await
}

/// Declares the queue of mails. Safe to repeat. A message that comes back too often is dropped: its
/// mail stands in the database and becomes due again.
pub async fn declare_mails(channel: &Channel) -> lapin::Result<()> {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAIL_QUEUE_MESSAGES_MAX));
    channel.queue_declare(MAILS.into(), DURABLE_QUEUE, arguments).await?;
    Ok(())
}

/// Declares a queue of events for one node, which ends with the node's connection. When it is full,
/// the oldest events are dropped; nodes also look at the database now and then.
pub async fn declare_live_queue(channel: &Channel) -> lapin::Result<String> {
    let options = QueueDeclareOptions {
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: true,
        nowait: false,
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("classic"));
    arguments.insert("x-overflow".into(), text("drop-head"));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(LIVE_QUEUE_MESSAGES_MAX));
    let queue = channel.queue_declare("".into(), options, arguments).await?;
    let name = queue.name().as_str().to_owned();
    channel
        .queue_bind(name.as_str().into(), EVENTS.into(), "#".into(), BIND, FieldTable::default())
        .await?;
    Ok(name)
}

/// How many ready messages and consumers a queue has; `None` if there is no such queue. The broker
/// reports 0 for a queue that does not answer, so 0 proves nothing.
pub async fn look_at(
    channel: &Channel,
    partition: &Partition,
) -> lapin::Result<Option<(u32, u32)>> {
    let look = QueueDeclareOptions { passive: true, ..DURABLE_QUEUE };
    let queue = partition.queue();
    match channel.queue_declare(queue.as_str().into(), look, FieldTable::default()).await {
        Ok(seen) => Ok(Some((seen.message_count(), seen.consumer_count()))),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a declaration failed because a queue of that name has other arguments.
#[must_use]
pub fn is_foreign(error: &lapin::Error) -> bool {
    is_soft(error, AMQPSoftError::PRECONDITIONFAILED)
}

/// Whether the named queue or exchange does not exist.
#[must_use]
pub fn is_not_found(error: &lapin::Error) -> bool {
    is_soft(error, AMQPSoftError::NOTFOUND)
}

fn is_soft(error: &lapin::Error, kind: AMQPSoftError) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(kind))
}
