//! A place that was found, and the proof of whose place it is.

use chrono::{DateTime, Utc};
use contract::{AccountId, TicketId, api::line::PlaceState, place_ticket::Place};
use store::admissions::Admission;

use crate::{line::Line, scripts::spot::Spot};

/// What a request proves its place with: the signed-in account, or a place ticket.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Account(AccountId),
    Ticket(Place),
}

/// A place that was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundPlace {
    pub(crate) place: Place,
    pub(crate) life: Life,
}

/// Where a place is in its life.
#[derive(Clone, Debug)]
pub(crate) enum Life {
    Waiting(Spot),
    Admitted(Admission),
    Ended(PlaceState),
}

impl Proof {
    /// The number ahead that the visitor was told last, if the proof says so.
    pub(super) fn told(&self) -> Option<u64> {
        match self {
            Self::Account(_) => None,
            Self::Ticket(place) => place.told,
        }
    }

    /// The account that asks.
    pub(crate) fn account(&self) -> AccountId {
        match self {
            Self::Account(account) => *account,
            Self::Ticket(place) => place.account,
        }
    }
}

impl FoundPlace {
    /// A place in the line. `told` is the number in the visitor's place ticket, which no later one
    /// may exceed: it stays in every ticket that follows.
    pub(super) fn waiting(line: &Line, spot: Spot, told: Option<u64>) -> Self {
        match told {
            Some(ahead) => line.was_told(&spot, ahead),
            None => line.polled(&spot),
        }
        Self { place: Place { told, ..spot.place.clone() }, life: Life::Waiting(spot) }
    }
}

/// A place of which Redis knows only the owner: taken from the ticket, else without a number.
pub(super) fn known_place(
    line: &Line,
    ticket: TicketId,
    account: AccountId,
    proof: &Proof,
    joined_at: DateTime<Utc>,
) -> Place {
    match proof {
        Proof::Ticket(place) if place.account == account => place.clone(),
        _ => Place {
            ticket,
            account,
            show: line.show,
            lane: 0,
            epoch: 0,
            number: 0,
            joined_at,
            told: None,
            stretch: None,
        },
    }
}
