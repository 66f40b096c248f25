//! Messages and bookings that break what handles them: found, parked alone, never dropped.

use contract::{
    AccountId, BookingId,
    booking::{Kind, Reason},
    message::{BookingRequested, Envelope},
    topology::{PARKED, Partition},
};
use platform::broker::Session;
use serde_json::Value;
use store::{
    StoreResult,
    bookings::{self, Refusal},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Office,
    batch::{Failure, Ledger, failure},
};

/// Settles the bookings of a failed batch one by one and parks those that fail by themselves.
/// `false` when the session is over, or the trouble is not one booking's.
pub(crate) async fn isolate(
    office: &Office,
    ledger: &mut Ledger,
    session: &Session,
    stop: &CancellationToken,
    requests: &[BookingRequested],
) -> bool {
    for request in requests {
        if stop.is_cancelled() || !session.is_live() {
            return false;
        }
        let one = std::slice::from_ref(request);
        let Err(error) = ledger.settle(office, one).await else { continue };
        match failure(&error) {
            Failure::Displaced | Failure::Wait | Failure::Again => return false,
            Failure::Reload | Failure::Poisoned => {
                let error = anyhow::Error::from(error);
                warn!(booking = %request.booking_id, "a booking is parked: {error:#}");
                metrics::counter!("usher_parked_total", "why" => "poison").increment(1);
                let parked = park(office, &ledger.partition, request).await;
                if !parked || ledger.reload(office).await.is_err() {
                    return false;
                }
            }
        }
    }
    true
}

async fn park(office: &Office, partition: &Partition, request: &BookingRequested) -> bool {
    let envelope = Envelope {
        v: 1,
        show_id: partition.show,
        tier: partition.tier.clone(),
        bookings: vec![request.clone()],
    };
    let parked =
        office.publisher.publish(PARKED, &partition.routing_key(), &envelope.encode()).await;
    parked.is_ok()
}

/// Keeps a message that cannot be understood, and refuses the bookings that can be made out in
/// it, so that whoever was promised an answer gets one. Until that is done it must not be acked.
pub(crate) async fn park_unreadable(
    office: &Office,
    routing_key: &str,
    body: &[u8],
    why: &str,
) -> StoreResult<()> {
    warn!(routing_key, bytes = body.len(), "a message cannot be understood and is kept: {why}");
    metrics::counter!("usher_parked_total", "why" => "unreadable").increment(1);
    bookings::keep_parked(&office.pool, routing_key, body, why).await?;
    let Some(partition) = partition_of(routing_key) else { return Ok(()) };
    for (booking, account, kind) in made_out(body) {
        let refusal = Refusal {
            partition: partition.clone(),
            booking,
            account,
            kind,
            reason: Reason::Internal,
        };
        bookings::refuse(&office.pool, &refusal).await?;
    }
    office.events.notify_one();
    Ok(())
}

/// `{show}.{tier}`, as the broker routes requests.
pub(crate) fn partition_of(routing_key: &str) -> Option<Partition> {
    let (show, tier) = routing_key.split_once('.')?;
    Some(Partition { show: show.parse().ok()?, tier: tier.parse().ok()? })
}

/// Bookings in a message of any shape: objects that have a booking id and an account id.
fn made_out(body: &[u8]) -> Vec<(BookingId, AccountId, Kind)> {
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let Some(bookings) = message.get("bookings").and_then(Value::as_array) else {
        return Vec::new();
    };
    let text = |booking: &Value, name: &str| {
        booking.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
    };
    bookings
        .iter()
        .filter_map(|booking| {
            let id = text(booking, "bookingId")?.parse().ok()?;
            let account = text(booking, "accountId")?.parse().ok()?;
            let kind = if text(booking, "kind").as_deref() == Some("HOLD") {
                Kind::Hold
            } else {
                Kind::Order
            };
            Some((id, account, kind))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookings_are_made_out_in_messages_of_another_version() {
        let (booking, account) = (BookingId::new(), AccountId::new());
        let body = serde_json::json!({
            "v": 9,
            "bookings": [
                {"bookingId": booking, "accountId": account, "kind": "HOLD", "wish": {"moon": 1}},
                {"bookingId": 7},
                "x",
            ],
        });
        assert_eq!(made_out(body.to_string().as_bytes()), [(booking, account, Kind::Hold)]);
        assert!(made_out(b"\xff\xfe").is_empty());
        assert!(partition_of("nonsense").is_none());
    }
}
