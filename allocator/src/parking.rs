//! The two queues nobody wants to see used: parked bookings are tried again, each alone, and then
//! refused; what found no queue is refused where its sale is over, and sent again where it is not.

use std::time::Duration;

use contract::{
    booking::Reason,
    booking_id::is_key,
    message::{BookingRequested, Envelope},
    topology::{PARKED, Partition, REQUESTS, UNROUTED},
};
use platform::{
    broker::{self, Consumption, Delivery, PublishError, Publisher},
    faults::{failpoint, sometimes},
};
use store::{
    PgPool, StoreResult,
    bookings::{self, Refusal},
    partitions,
};
use tracing::warn;

use crate::{Office, poison};

/// How often a parked booking goes back to its queue before it is refused.
const ATTEMPTS_MAX: u8 = 4;
const PREFETCH: u16 = 16;
/// What found no queue of an open sale is sent again after this.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Consumes the parking queue until the shutdown begins.
pub(crate) async fn run_parked(office: Office) {
    consume(office, PARKED, async |office, partition, request| {
        if request.attempt < ATTEMPTS_MAX {
            let attempt = request.attempt + 1;
            return again(&office.publisher, partition, BookingRequested { attempt, ..request })
                .await;
        }
        let refused = refuse(office, partition, &request, Reason::Internal).await;
        if refused == Consumption::Ack {
            sometimes("parked booking refused");
        }
        refused
    })
    .await;
}

/// Consumes what no queue was bound for until the shutdown begins.
pub(crate) async fn run_unrouted(office: Office) {
    consume(office, UNROUTED, async |office, partition, request| {
        match is_open(&office.pool, &partition).await {
            Ok(true) => {
                // Its queue is not bound at the moment: whoever owns it is about to mend that.
                if !office.shutdown.sleep(SENT_AGAIN_AFTER).await {
                    return Consumption::Retry;
                }
                again(&office.publisher, partition, request).await
            }
            Ok(false) => refuse(office, partition, &request, Reason::SaleClosed).await,
            Err(error) => {
                warn!("cannot tell whether a sale is open: {:#}", anyhow::Error::from(error));
                Consumption::Retry
            }
        }
    })
    .await;
}

async fn consume<H>(office: Office, queue: &'static str, handle: H)
where
    H: AsyncFn(&Office, Partition, BookingRequested) -> Consumption,
{
    let (broker, shutdown) = (office.consuming.clone(), office.shutdown.clone());
    let prepare = |channel| async move {
        broker::declare_base(&channel).await?;
        Ok(queue.to_owned())
    };
    let (office, handle) = (&office, &handle);
    let each = |delivery| one(office, queue, delivery, handle);
    broker.consume(PREFETCH, shutdown, prepare, each).await;
}

async fn one<H>(office: &Office, queue: &str, delivery: Delivery, handle: &H) -> Consumption
where
    H: AsyncFn(&Office, Partition, BookingRequested) -> Consumption,
{
    metrics::counter!("usher_set_aside_total", "queue" => queue.to_owned()).increment(1);
    let routing_key = delivery.routing_key.as_str();
    let envelope = match poison::readable(office, routing_key, &delivery.data).await {
        Ok(Some(envelope)) => envelope,
        Ok(None) => return Consumption::Ack,
        Err(_) => return Consumption::Retry,
    };
    let partition = Partition { show: envelope.show_id, tier: envelope.tier };
    for request in envelope.bookings {
        // Repeating those before it is harmless: each is decided once.
        match handle(office, partition.clone(), request).await {
            Consumption::Ack => {}
            other => return other,
        }
    }
    failpoint("after-parking");
    Consumption::Ack
}

async fn again(
    publisher: &Publisher,
    partition: Partition,
    request: BookingRequested,
) -> Consumption {
    let key = partition.routing_key();
    let envelope = Envelope::new(&partition, vec![request]);
    match publisher.publish(REQUESTS, &key, &envelope.encode()).await {
        Ok(()) => Consumption::Ack,
        Err(PublishError::Refused(_)) => Consumption::Retry,
        Err(PublishError::Unknown(_)) => {
            sometimes("unknown publish retried");
            Consumption::Retry
        }
    }
}

async fn refuse(
    office: &Office,
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
        reason,
    };
    match bookings::refuse(&office.pool, &refusal).await {
        Ok(_) => {
            office.events.notify_one();
            Consumption::Ack
        }
        Err(error) => {
            warn!(booking = %request.booking_id, "cannot be refused yet: {:#}", anyhow::Error::from(error));
            Consumption::Retry
        }
    }
}

/// Whether the partition's queue should be bound: then the booking only came too early or too
/// late for a binding, and belongs there.
async fn is_open(pool: &PgPool, partition: &Partition) -> StoreResult<bool> {
    let queued = partitions::queued(pool).await?;
    Ok(queued.iter().any(|q| q.partition == *partition && q.ready && !q.closed))
}
