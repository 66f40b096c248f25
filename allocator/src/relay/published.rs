//! What follows when a message of events has gone out.

use contract::message::EventMessage;
use store::outbox::Unpublished;

use crate::allocator::Allocator;

/// Counts the events of a message, and passes on the seats of bookings that changed after their
/// decision: their locks may have to change.
pub(super) fn are_published(allocator: &Allocator, message: &Unpublished) {
    let Ok(events) = EventMessage::decode(&message.body) else { return };
    metrics::counter!("usher_events_published_total").increment(events.len() as u64);
    let Some(show) = events.first().map(|event| event.show_id) else { return };
    let changed = events.into_iter().filter(|event| !event.is_decision());
    allocator.compare_locks(show, changed.flat_map(|event| event.seat_ids).collect());
}
