//! Reads messages. A message that cannot be read is kept or set aside, never dropped.

use contract::{
    booking::Reason,
    message::{BadEnvelope, BookingRequested, Envelope},
};
use store::{StoreResult, bookings};
use tracing::warn;

use crate::{allocator::Allocator, made_out::refuse_made_out, newer};

/// Reads a message: `None` if nothing in it can be read, and it was kept or set aside. Bookings
/// with words of a newer version wait for that version, and the rest goes on. The envelope holds
/// only bookings whose ids were made for their accounts. The others were never accepted, and an
/// outcome under a stolen id would block its owner: they are kept, undecided.
///
/// The message must not be acked before this has succeeded.
pub(crate) async fn read(
    allocator: &Allocator,
    routing_key: &str,
    body: &[u8],
) -> StoreResult<Option<Envelope>> {
    let mut envelope = match Envelope::decode(body) {
        Ok(envelope) => envelope,
        Err(BadEnvelope::Newer(what)) => {
            let (known, newer) = Envelope::without_newer(body);
            newer::set_aside(allocator, routing_key, &newer, what).await?;
            let mut whole: Option<Envelope> = None;
            for part in known {
                // No part has newer words now, so the recursion ends.
                let part = Box::pin(read(allocator, routing_key, &part)).await?;
                match &mut whole {
                    Some(whole) => whole.bookings.extend(part.into_iter().flat_map(|p| p.bookings)),
                    None => whole = part,
                }
            }
            return Ok(whole);
        }
        Err(error) => {
            park_unreadable(allocator, routing_key, body, &error.to_string()).await?;
            return Ok(None);
        }
    };
    let proven = |booking: &BookingRequested| {
        allocator.ids.belongs_to(booking.booking_id, booking.account_id)
    };
    if !envelope.bookings.iter().all(proven) {
        let why = "the id of a booking was not made for its account";
        keep(allocator, routing_key, body, why).await?;
        envelope.bookings.retain(proven);
    }
    Ok(Some(envelope))
}

async fn keep(allocator: &Allocator, routing_key: &str, body: &[u8], why: &str) -> StoreResult<()> {
    warn!(routing_key, bytes = body.len(), "a message is kept: {why}");
    metrics::counter!("usher_parked_total", "why" => "unreadable").increment(1);
    bookings::keep_parked(&allocator.pool, routing_key, body, why).await
}

/// Keeps a message that cannot be read, and refuses the bookings that can be found in it, so that
/// every accepted booking gets an outcome.
async fn park_unreadable(
    allocator: &Allocator,
    routing_key: &str,
    body: &[u8],
    why: &str,
) -> StoreResult<()> {
    keep(allocator, routing_key, body, why).await?;
    refuse_made_out(allocator, routing_key, body, Reason::Internal).await
}
