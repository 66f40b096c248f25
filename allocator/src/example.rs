//! A request for the tests of this crate.

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId,
    booking::{Kind, Wish},
    deadline::BOOKING_DEADLINE,
    message::BookingRequested,
};

/// One that asks for the hold of one seat, as of a client that sent no key.
pub(crate) fn request(accepted_at: DateTime<Utc>) -> BookingRequested {
    BookingRequested {
        booking_id: BookingId::new(),
        account_id: AccountId::new(),
        kind: Kind::Hold,
        wish: Wish::BestAvailable(1),
        idempotency_key: None,
        ticket_id: None,
        deadline: accepted_at + BOOKING_DEADLINE,
        traceparent: None,
        attempt: 0,
        number: None,
    }
}
