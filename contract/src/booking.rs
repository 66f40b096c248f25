//! A booking: what a client may ask for, how the request is decided, and the states that follow.

mod words;
mod state;

use serde::{Deserialize, Serialize};

use crate::SeatLabel;
pub use state::{Ending, HoldStatus, InvalidTransition, Kind, OrderStatus, State, Transition};
pub use words::UnknownWord;
use words::words;

/// The most seats one request may name, whatever a show allows per person.
pub const SEATS_PER_REQUEST_MAX: usize = 20;

/// Which seats are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// Exactly these, all or none; sorted, without repetition.
    Seats(Vec<SeatLabel>),
    /// A number of seats: the best that are free, adjacent where possible.
    BestAvailable(u16),
}

impl Wish {
    /// How many seats are wanted.
    #[must_use]
    pub fn n_seats(&self) -> usize {
        match self {
            Self::Seats(seats) => seats.len(),
            Self::BestAvailable(n) => usize::from(*n),
        }
    }
}

words! {
    /// Whether a request has been decided, and how. Once it is not `QUEUED` it never changes.
    Status {
        Queued = "QUEUED",
        Allocated = "ALLOCATED",
        Rejected = "REJECTED",
    }
}

words! {
    /// Why a request was rejected.
    Reason {
        /// At least one of the chosen seats was taken.
        SeatTaken = "SEAT_TAKEN",
        /// Not enough seats of the tier are left.
        SoldOut = "SOLD_OUT",
        /// Too few seats of the tier are free; some are only held and may come back.
        AllHeld = "ALL_HELD",
        /// The account would have more seats of the show than it may, or keep seats unpaid for
        /// longer than it may.
        LimitExceeded = "LIMIT_EXCEEDED",
        /// The sale ended before the request was decided.
        SaleClosed = "SALE_CLOSED",
        /// The pass has bought a live booking already.
        PassUsed = "PASS_USED",
        /// The request waited past its deadline.
        Expired = "EXPIRED",
        /// The same Idempotency-Key came with another body.
        IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
        /// The request could not be decided; nothing was booked.
        Internal = "INTERNAL",
    }
}

words! {
    /// Which limit a request would have broken.
    Limit {
        /// The most seats of the show that an account may have.
        Seats = "SEATS",
        /// The longest time for which an account may keep unpaid seats of the show from others,
        /// over all its bookings.
        UnpaidSeatTime = "UNPAID_SEAT_TIME",
        /// For some seconds, seats that have just come back are only for accounts that have not
        /// given back unpaid seats of the show more than once.
        JustCameBack = "JUST_CAME_BACK",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_what_they_were() {
        for state in ["HELD", "PAYMENT_PENDING", "CONFIRMED", "EXPIRED", "RELEASED"] {
            assert_eq!(state.parse().ok().map(State::as_str), Some(state));
        }
        assert!("NONSENSE".parse::<Reason>().is_err());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        let described = serde_json::to_value(<Reason as utoipa::PartialSchema>::schema()).unwrap();
        let words: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(described["enum"], serde_json::json!(words));
    }
}
