//! The queue of bookings that broke their batch. Each is tried again alone, and refused in the end.

use contract::{
    booking::Reason,
    booking_id::is_key,
    message::{BookingRequested, Envelope},
    topology::{PARKED, Partition, REQUESTS},
};
use platform::{
    broker::{self, Consumption, Delivery, PublishError, Publisher},
    faults::{failpoint, sometimes},
};
use store::bookings::{self, Refusal};
use tracing::warn;

use crate::{allocator::Allocator, reading};

/// How often a parked booking goes back to its queue before it is refused.
const ATTEMPTS_MAX: u8 = 4;
const PREFETCH: u16 = 16;

/// Consumes the parked queue until the shutdown begins.
pub(crate) async fn run_parked(allocator: Allocator) {
    consume(allocator, PARKED, async |allocator, partition, request| {
        if request.attempt < ATTEMPTS_MAX {
            let attempt = request.attempt + 1;
            let request = BookingRequested { attempt, ..request };
            return resend(&allocator.publisher, &partition, vec![request]).await;
        }
        let refused = refuse(allocator, partition, &request, Reason::Internal).await;
        if refused == Consumption::Ack {
            sometimes("parked booking refused");
        }
        refused
    })
    .await;
}

async fn consume<H>(allocator: Allocator, queue: &'static str, handle: H)
where
    H: AsyncFn(&Allocator, Partition, BookingRequested) -> Consumption,
{
    let (broker, shutdown) = (allocator.consuming.first(), allocator.shutdown.clone());
    let prepare = |channel| async move {
        broker::declare_base(&channel).await?;
        Ok(queue.to_owned())
    };
    let (allocator, handle) = (&allocator, &handle);
    let each = |delivery| handle_delivery(allocator, queue, delivery, handle);
    broker.consume(PREFETCH, shutdown, prepare, each).await;
}

async fn handle_delivery<H>(
    allocator: &Allocator,
    queue: &str,
    delivery: Delivery,
    handle: &H,
) -> Consumption
where
    H: AsyncFn(&Allocator, Partition, BookingRequested) -> Consumption,
{
    metrics::counter!("usher_set_aside_total", "queue" => queue.to_owned()).increment(1);
    let routing_key = delivery.routing_key.as_str();
    let envelope = match reading::read(allocator, routing_key, &delivery.data).await {
        Ok(Some(envelope)) => envelope,
        Ok(None) => return Consumption::Ack,
        Err(_) => return Consumption::Retry,
    };
    let partition = Partition { show: envelope.show_id, tier: envelope.tier };
    for request in envelope.bookings {
        // Repeating the bookings before this one is harmless: each is decided once.
        match handle(allocator, partition.clone(), request).await {
            Consumption::Ack => {}
            other => return other,
        }
    }
    failpoint("after-parking");
    Consumption::Ack
}

/// Sends bookings with consecutive numbers to the queue of their partition.
pub(crate) async fn resend(
    publisher: &Publisher,
    partition: &Partition,
    requests: Vec<BookingRequested>,
) -> Consumption {
    let key = partition.routing_key();
    let envelope = Envelope::new(partition, requests);
    match publisher.publish(REQUESTS, &key, &envelope.encode()).await {
        Ok(()) => Consumption::Ack,
        Err(PublishError::Refused(_)) => Consumption::Retry,
        Err(PublishError::Unknown(_)) => {
            sometimes("unknown publish retried");
            Consumption::Retry
        }
    }
}

/// Refuses a booking without a look at the seats.
pub(crate) async fn refuse(
    allocator: &Allocator,
    partition: Partition,
    request: &BookingRequested,
    reason: Reason,
) -> Consumption {
    let refusal = Refusal {
        partition,
        booking: request.booking_id,
        account: request.account_id,
        kind: request.kind,
        idempotency_key: request.idempotency_key.clone().filter(|key| is_key(key.as_bytes())),
        number: request.number,
        deadline: Some(request.deadline),
        reason,
    };
    match bookings::refuse(&allocator.pool, &refusal).await {
        Ok(_) => {
            allocator.events.notify_one();
            Consumption::Ack
        }
        Err(error) => {
            warn!(booking = %request.booking_id, "not refused yet: {:#}", anyhow::Error::from(error));
            Consumption::Retry
        }
    }
}
