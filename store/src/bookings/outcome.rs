//! What was decided of a request.

use contract::{
    AccountId, BookingId, SeatLabel, TicketId,
    booking::{Kind, Limit, Reason},
};

/// A request and what was decided of it.
#[derive(Clone, Debug)]
pub struct Decided {
    pub booking: BookingId,
    pub account: AccountId,
    pub kind: Kind,
    pub ticket: Option<TicketId>,
    /// `None` if the key belongs to another booking.
    pub idempotency_key: Option<String>,
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allocated {
        seats: Vec<SeatLabel>,
    },
    Rejected {
        reason: Reason,
        /// Which limit, if the reason is a limit of the account.
        limit: Option<Limit>,
        taken: Vec<SeatLabel>,
        alternatives: Vec<SeatLabel>,
    },
}

impl Decided {
    /// Whether it was rejected because no seat is left.
    #[must_use]
    pub fn is_sold_out(&self) -> bool {
        matches!(self.outcome, Outcome::Rejected { reason: Reason::SoldOut, .. })
    }
}

impl Outcome {
    /// A rejection without seats to name.
    #[must_use]
    pub fn rejected(reason: Reason) -> Self {
        Self::Rejected { reason, limit: None, taken: Vec::new(), alternatives: Vec::new() }
    }

    /// A rejection because a limit of the account would have been passed.
    #[must_use]
    pub fn over(limit: Limit) -> Self {
        Self::Rejected {
            reason: Reason::LimitExceeded,
            limit: Some(limit),
            taken: Vec::new(),
            alternatives: Vec::new(),
        }
    }
}
