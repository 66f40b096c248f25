//! The life of an allocated booking: where it stands, and what may become of it. Tables, indexes
//! and statements repeat these words; a test of the store holds them equal.
//!
//! ```text
//! Held ──Order──► PaymentPending ──Confirm──► Confirmed
//!   │ Lapsed, Released   │ Lapsed, Cancelled,     │ Cancelled
//!   ▼                    ▼ PaymentFailed          ▼
//! Expired, Released, Cancelled, Failed: ended, and nothing more becomes of it
//! ```
//! A booking whose time is over, by the database's clock, can only lapse.

use super::words::words;

words! {
    /// What an allocated request becomes.
    Kind {
        /// A hold: seats kept until an order is made from them.
        Hold = "HOLD",
        /// An order in one step, waiting for its payment.
        Order = "ORDER",
    }
}

words! {
    /// Where an allocated booking stands.
    State {
        Held = "HELD",
        PaymentPending = "PAYMENT_PENDING",
        Confirmed = "CONFIRMED",
        Expired = "EXPIRED",
        Failed = "FAILED",
        Cancelled = "CANCELLED",
        Released = "RELEASED",
    }
}

words! {
    /// Where an order stands.
    OrderStatus {
        PaymentPending = "PAYMENT_PENDING",
        Confirmed = "CONFIRMED",
        Expired = "EXPIRED",
        Failed = "FAILED",
        Cancelled = "CANCELLED",
    }
}

words! {
    /// Where a hold stands, as its owner sees it.
    HoldStatus {
        Held = "HELD",
        Expired = "EXPIRED",
        Released = "RELEASED",
    }
}

/// What can happen to an allocated booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// An order is made from the hold.
    Order,
    /// The order is paid.
    Confirm,
    End(Ending),
}

/// Why a live booking ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its time is over.
    Lapsed,
    /// Its owner gave the hold back.
    Released,
    /// Its owner cancelled the order, before the show began.
    Cancelled,
    /// The payment was refused.
    PaymentFailed,
}

/// A transition that cannot happen in the booking's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{transition:?} of a booking that is {}", state.as_str())]
pub struct InvalidTransition {
    pub state: State,
    pub transition: Transition,
}

impl State {
    /// States in which a booking's seats are kept from others.
    pub const LIVE: &[Self] = &[Self::Held, Self::PaymentPending, Self::Confirmed];
    /// States with a time limit. When the time is over, the booking lapses.
    pub const LAPSING: &[Self] = &[Self::Held, Self::PaymentPending];

    /// The state of a booking that was just allocated.
    #[must_use]
    pub fn first(kind: Kind) -> Self {
        match kind {
            Kind::Hold => Self::Held,
            Kind::Order => Self::PaymentPending,
        }
    }

    /// Whether the booking's seats are kept from others.
    #[must_use]
    pub fn is_live(self) -> bool {
        Self::LIVE.contains(&self)
    }

    /// Every transition that can happen next.
    #[must_use]
    pub fn next(self) -> &'static [Transition] {
        use Ending::{Cancelled, Lapsed, PaymentFailed, Released};
        use Transition::{Confirm, End, Order};
        match self {
            Self::Held => &[Order, End(Lapsed), End(Released)],
            Self::PaymentPending => &[Confirm, End(Lapsed), End(Cancelled), End(PaymentFailed)],
            Self::Confirmed => &[End(Cancelled)],
            Self::Expired | Self::Failed | Self::Cancelled | Self::Released => &[],
        }
    }

    /// The state after this transition.
    pub fn after(self, transition: Transition) -> Result<Self, InvalidTransition> {
        if self.next().contains(&transition) {
            Ok(transition.to())
        } else {
            Err(InvalidTransition { state: self, transition })
        }
    }

    /// Where the booking's order stands, if it has one; `None` in states without an order.
    #[must_use]
    pub fn order_status(self) -> Option<OrderStatus> {
        match self {
            Self::Held | Self::Released => None,
            Self::PaymentPending => Some(OrderStatus::PaymentPending),
            Self::Confirmed => Some(OrderStatus::Confirmed),
            Self::Expired => Some(OrderStatus::Expired),
            Self::Failed => Some(OrderStatus::Failed),
            Self::Cancelled => Some(OrderStatus::Cancelled),
        }
    }
}

impl Transition {
    /// The state it leads to, from whichever state it begins.
    #[must_use]
    pub fn to(self) -> State {
        match self {
            Self::Order => State::PaymentPending,
            Self::Confirm => State::Confirmed,
            Self::End(Ending::Lapsed) => State::Expired,
            Self::End(Ending::Released) => State::Released,
            Self::End(Ending::Cancelled) => State::Cancelled,
            Self::End(Ending::PaymentFailed) => State::Failed,
        }
    }

    /// Every state in which this transition may happen.
    pub fn from(self) -> impl Iterator<Item = State> {
        State::ALL.iter().copied().filter(move |state| state.next().contains(&self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const TRANSITIONS: &[Transition] = &[
        Transition::Order,
        Transition::Confirm,
        Transition::End(Ending::Lapsed),
        Transition::End(Ending::Released),
        Transition::End(Ending::Cancelled),
        Transition::End(Ending::PaymentFailed),
    ];

    /// How far a booking has come: it never goes back.
    fn stage(state: State) -> usize {
        match state {
            State::Held => 0,
            State::PaymentPending => 1,
            State::Confirmed => 2,
            State::Expired | State::Failed | State::Cancelled | State::Released => 3,
        }
    }

    proptest! {
        #[test]
        fn a_booking_goes_on_until_it_ends(
            kind in select(Kind::ALL), tried in vec(select(TRANSITIONS), 0..20),
        ) {
            let mut state = State::first(kind);
            let mut was_sold = false;
            for transition in tried {
                let after = state.after(transition);
                prop_assert_eq!(after.is_ok(), state.next().contains(&transition));
                prop_assert_eq!(after.is_ok(), transition.from().any(|from| from == state));
                let Ok(after) = after else { continue };
                prop_assert!(state.is_live() && stage(after) > stage(state));
                prop_assert_eq!(!after.is_live(), matches!(transition, Transition::End(_)));
                prop_assert!(state.order_status().is_none() || after.order_status().is_some());
                was_sold |= after == State::Confirmed;
                prop_assert!(!was_sold || [State::Confirmed, State::Cancelled].contains(&after));
                state = after;
            }
        }
    }

    #[test]
    fn the_lists_say_what_the_transitions_say() {
        let all = State::ALL.iter().copied();
        let live: Vec<State> = all.clone().filter(|state| !state.next().is_empty()).collect();
        assert_eq!(State::LIVE, live);
        let lapsing: Vec<State> = Transition::End(Ending::Lapsed).from().collect();
        assert_eq!(State::LAPSING, lapsing);
        let begun = Kind::ALL.iter().map(|kind| State::first(*kind));
        let reached: HashSet<State> = begun.chain(TRANSITIONS.iter().map(|t| t.to())).collect();
        assert_eq!(reached, all.clone().collect());
        let used: Vec<Transition> = all.clone().flat_map(|state| state.next().to_vec()).collect();
        assert!(used.iter().all(|transition| TRANSITIONS.contains(transition)));
        assert!(TRANSITIONS.iter().all(|transition| used.contains(transition)));
        for state in all {
            let order = state.order_status().map(OrderStatus::as_str);
            assert!(order.is_none_or(|word| word == state.as_str()), "{state:?}: {order:?}");
        }
    }
}
