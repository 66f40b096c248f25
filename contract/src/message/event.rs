//! Booking events, and the messages that carry them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, BookingId, EventId, OrderId, SeatLabel, ShowId, TierCode,
    booking::{Reason, State},
    topology::Partition,
};

/// Most events in one message: of the longest ones, too, it stays within the broker's 64 KiB.
pub(super) const EVENTS_MAX: usize = 48;

/// Something that happened to a booking, with its whole state after it.
///
/// Consumers keep the highest `seq` per booking and drop the rest, so order and duplicates
/// do not matter to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookingEvent {
    pub event_id: EventId,
    pub booking_id: BookingId,
    /// 1 for the outcome, then one more with each transition.
    pub seq: i32,
    pub show_id: ShowId,
    pub tier: TierCode,
    pub account_id: AccountId,
    pub at: DateTime<Utc>,
    /// Where an allocated booking stands; `None` for a rejected one.
    pub state: Option<State>,
    /// Why it was rejected; `None` for an allocated one.
    pub reason: Option<Reason>,
    #[serde(default)]
    pub order_id: Option<OrderId>,
    #[serde(default)]
    pub seat_ids: Vec<SeatLabel>,
}

impl BookingEvent {
    /// Event number `seq` of a booking. Add what happened with [`Self::now`] or [`Self::rejected`].
    #[must_use]
    pub fn new(
        partition: &Partition,
        booking: BookingId,
        account: AccountId,
        seq: i32,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            event_id: EventId::new(),
            booking_id: booking,
            seq,
            show_id: partition.show,
            tier: partition.tier.clone(),
            account_id: account,
            at,
            state: None,
            reason: None,
            order_id: None,
            seat_ids: Vec::new(),
        }
    }

    /// Whether it tells of the booking's decision, not of a later change.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        self.seq == 1
    }

    /// Adds that the booking is allocated, in this state, with these seats and this order.
    #[must_use]
    pub fn now(self, state: State, seats: Vec<SeatLabel>, order: Option<OrderId>) -> Self {
        Self { state: Some(state), seat_ids: seats, order_id: order, ..self }
    }

    /// Adds that the booking was rejected.
    #[must_use]
    pub fn rejected(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

/// Events of one partition that go out together: at least one.
#[derive(Clone, Debug)]
pub struct EventMessage<'a> {
    events: &'a [BookingEvent],
}

impl<'a> EventMessage<'a> {
    /// These events as messages, in order.
    pub fn all(events: &'a [BookingEvent]) -> impl Iterator<Item = Self> {
        let of_one_partition =
            events.chunk_by(|one, next| (one.show_id, &one.tier) == (next.show_id, &next.tier));
        of_one_partition.flat_map(|events| events.chunks(EVENTS_MAX)).map(|events| Self { events })
    }

    #[must_use]
    pub fn first(&self) -> &'a BookingEvent {
        &self.events[0]
    }

    /// The message as JSON. One event goes alone, as versions before lists read it.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = match self.events {
            [event] => serde_json::to_string(event),
            events => serde_json::to_string(events),
        };
        text.expect("an event has no maps")
    }

    /// The events of a message.
    pub fn decode(message: &[u8]) -> serde_json::Result<Vec<BookingEvent>> {
        if message.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice(message)
        } else {
            Ok(vec![serde_json::from_slice(message)?])
        }
    }
}
