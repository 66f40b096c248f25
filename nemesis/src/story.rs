//! The story of one request, as its buyer saw it. The checks compare it with the tables.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use contract::{AccountId, BookingId, OrderId, ShowId};
use platform::clock;
use serde_json::Value;

/// One request for seats, from the first try to the last look.
#[derive(Clone, Debug)]
pub struct Story {
    pub account: AccountId,
    pub show: ShowId,
    pub tier: &'static str,
    /// Chosen seats; empty for the best available.
    pub seats: Vec<String>,
    pub quantity: usize,
    pub key: String,
    /// Every id in an acceptance; more than one is a violation.
    pub ids: BTreeSet<BookingId>,
    /// When the request was first sent.
    pub asked_at: DateTime<Utc>,
    /// When its acceptance was answered.
    pub accepted_at: Option<DateTime<Utc>>,
    /// Whether an answer said that it was accepted.
    pub accepted: bool,
    /// Whether a try had no answer, or `OUTCOME_UNKNOWN`.
    pub unknown: bool,
    /// The refusal that ended the tries.
    pub refused: Option<String>,
    /// Every final outcome heard, in order.
    pub told: Vec<OutcomeHeard>,
    pub order: Option<OrderStory>,
    /// Whether the release of the hold was answered.
    pub released: bool,
    /// Answers that should not have been given.
    pub trouble: Vec<String>,
}

/// An outcome as it was answered or pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeHeard {
    pub status: String,
    pub reason: Option<String>,
    pub taken: Vec<String>,
}

/// The story of an order, as far as its owner was told.
#[derive(Clone, Debug)]
pub struct OrderStory {
    pub id: OrderId,
    /// Payment was asked for.
    pub asked_to_pay: bool,
    /// The ticket's code.
    pub paid: Option<String>,
    pub asked_to_cancel: bool,
    pub cancelled: bool,
}

impl OrderStory {
    pub fn of(order: &Value) -> Option<Self> {
        let id = order["orderId"].as_str()?.parse().ok()?;
        Some(Self { id, asked_to_pay: false, paid: None, asked_to_cancel: false, cancelled: false })
    }
}

impl OutcomeHeard {
    /// The outcome in a booking of the API; `None` while it is queued.
    pub fn of(booking: &Value) -> Option<Self> {
        let status = booking["status"].as_str().filter(|status| *status != "QUEUED")?;
        let taken = booking["takenSeats"].as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            status: status.to_owned(),
            reason: booking["reason"].as_str().map(ToOwned::to_owned),
            taken: taken.iter().filter_map(|seat| Some(seat.as_str()?.to_owned())).collect(),
        })
    }
}

impl Story {
    /// Notes the id in an acceptance.
    pub fn accepted_as(&mut self, id: &Value) {
        match id.as_str().and_then(|id| id.parse().ok()) {
            Some(id) => {
                self.ids.insert(id);
                self.accepted = true;
                self.accepted_at.get_or_insert_with(clock::now);
            }
            None => self.trouble.push("an acceptance without an id".into()),
        }
    }

    /// Notes an outcome that was answered or pushed.
    pub fn hear(&mut self, booking: &Value) -> bool {
        let Some(told) = OutcomeHeard::of(booking) else { return false };
        self.told.push(told);
        true
    }

    /// Whether the request got its seats, as far as its buyer was told.
    pub fn has_won(&self) -> bool {
        self.told.first().is_some_and(|told| told.status == "ALLOCATED")
    }
}
