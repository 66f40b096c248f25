//! The visitors of one line that this node knows: what each was told, and who has a socket here.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contract::{AccountId, TicketId, place_ticket::Place};
use tokio::{sync::watch, time::Instant};

use super::{forecast::PromisesMade, promise::Promise, signal::Signal};
use crate::scripts::spot::Spot;

/// Most visitors without a socket whose last number a node remembers. The number of any further
/// visitor might rise, if another node that is behind tells it next.
const POLLERS_MAX: usize = 200_000;

/// Bounded by the listener's connections, [`POLLERS_MAX`], and the sockets closed since Redis last
/// answered.
#[derive(Default)]
pub(crate) struct Visitors {
    known: HashMap<TicketId, Box<Visitor>>,
    /// Visitors who have a socket here that Redis does not know of.
    unheld: HashSet<TicketId>,
    /// Visitors who closed their last socket here, which Redis does not know yet.
    gone: HashSet<TicketId>,
}

struct Visitor {
    spot: Spot,
    /// The smallest number told so far.
    ahead_told: Option<u64>,
    told: PromisesMade,
    sockets: u32,
    /// When the visitor last polled or closed a socket.
    polled_at: Instant,
    signal: watch::Sender<Signal>,
}

impl Visitors {
    /// Remembers a visitor who polls.
    pub(crate) fn polled(&mut self, spot: &Spot) {
        let full = self.known.len() >= POLLERS_MAX;
        if let Some(visitor) = self.known.get_mut(&spot.place.ticket) {
            visitor.polled_at = Instant::now();
        } else if !full {
            self.known.insert(spot.place.ticket, Visitor::new(spot, Signal::Waiting));
        }
    }

    /// Registers a watcher of a place. Every call needs its [`Self::unwatch`].
    pub(crate) fn watch(&mut self, spot: &Spot, signal: Signal) -> watch::Receiver<Signal> {
        let ticket = spot.place.ticket;
        let visitor = self.known.entry(ticket).or_insert_with(|| Visitor::new(spot, signal));
        visitor.sockets += 1;
        if signal != Signal::Waiting {
            visitor.signal.send_replace(signal);
        }
        if visitor.waits() {
            self.gone.remove(&ticket);
            self.unheld.insert(ticket);
        }
        visitor.signal.subscribe()
    }

    /// Removes a watcher of a place.
    pub(crate) fn unwatch(&mut self, ticket: TicketId) {
        let Some(visitor) = self.known.get_mut(&ticket) else { return };
        visitor.sockets = visitor.sockets.saturating_sub(1);
        visitor.polled_at = Instant::now();
        if visitor.sockets == 0 {
            self.unheld.remove(&ticket);
            if visitor.waits() {
                self.gone.insert(ticket);
            }
        }
    }

    /// Tells the watchers of a place what became of it.
    pub(crate) fn signal(&mut self, ticket: TicketId, signal: Signal) {
        if let Some(visitor) = self.known.get(&ticket) {
            visitor.signal.send_if_modified(|was| std::mem::replace(was, signal) != signal);
        }
    }

    /// The account of a visitor, and the promises made to it while it still waits.
    pub(crate) fn met(&self, ticket: TicketId) -> Option<(AccountId, Option<&PromisesMade>)> {
        let visitor = self.known.get(&ticket)?;
        Some((visitor.spot.place.account, visitor.waits().then_some(&visitor.told)))
    }

    /// Notes that Redis may know of none of the sockets here.
    pub(crate) fn note_all_unheld(&mut self) {
        let here = self.known.iter().filter(|(_, visitor)| visitor.is_here());
        self.unheld.extend(here.map(|(ticket, _)| *ticket));
    }

    /// Notes that by Redis's count no node holds these visitors.
    pub(crate) fn note_unheld(&mut self, tickets: impl IntoIterator<Item = TicketId>) {
        let known = &self.known;
        let here = |ticket: &TicketId| known.get(ticket).is_some_and(|visitor| visitor.is_here());
        self.unheld.extend(tickets.into_iter().filter(here));
    }

    /// Takes up to `at_most` places that this node must tell Redis it holds.
    pub(crate) fn take_unheld(&mut self, at_most: usize) -> Vec<Place> {
        let tickets: Vec<TicketId> = self.unheld.iter().take(at_most).copied().collect();
        for ticket in &tickets {
            self.unheld.remove(ticket);
        }
        let here = tickets.into_iter().filter_map(|ticket| self.known.get(&ticket));
        here.filter(|visitor| visitor.is_here()).map(|visitor| visitor.spot.place.clone()).collect()
    }

    /// Whether this node knows no visitor of the line.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.gone.is_empty()
    }

    /// Whether anybody waits with a socket here.
    pub(crate) fn any_here(&self) -> bool {
        self.known.values().any(|visitor| visitor.is_here())
    }

    /// Takes the visitors without a socket here that Redis still counts as held here.
    pub(crate) fn take_gone(&mut self) -> Vec<TicketId> {
        std::mem::take(&mut self.gone).into_iter().collect()
    }

    /// Puts visitors back that [`Self::take_gone`] took, because Redis was not reached.
    pub(crate) fn put_back_gone(&mut self, tickets: impl IntoIterator<Item = TicketId>) {
        let known = &self.known;
        let away = |ticket: &TicketId| !known.get(ticket).is_some_and(|visitor| visitor.is_here());
        self.gone.extend(tickets.into_iter().filter(away));
    }

    /// Forgets visitors without a socket who have been silent for longer than `after`.
    pub(crate) fn forget_silent(&mut self, after: Duration) {
        self.known.retain(|_, visitor| visitor.sockets > 0 || visitor.polled_at.elapsed() <= after);
    }

    /// The smallest number the visitor was told.
    pub(crate) fn ahead_told(&self, ticket: TicketId) -> Option<u64> {
        self.known.get(&ticket)?.ahead_told
    }

    /// Notes what a visitor is told. A number larger than the last one is not noted.
    pub(crate) fn tell(&mut self, ticket: TicketId, ahead: Option<u64>, promise: Option<Promise>) {
        let Some(visitor) = self.known.get_mut(&ticket) else { return };
        visitor.ahead_told = match (visitor.ahead_told, ahead) {
            (Some(told), Some(ahead)) => Some(told.min(ahead)),
            (told, ahead) => ahead.or(told),
        };
        if let Some(promise) = promise {
            visitor.told.add(promise, ticket);
        }
    }
}

impl Visitor {
    fn new(spot: &Spot, signal: Signal) -> Box<Self> {
        Box::new(Self {
            spot: spot.clone(),
            ahead_told: None,
            told: PromisesMade::default(),
            sockets: 0,
            polled_at: Instant::now(),
            signal: watch::Sender::new(signal),
        })
    }

    /// Whether the visitor waits with a socket here.
    fn is_here(&self) -> bool {
        self.sockets > 0 && self.waits()
    }

    fn waits(&self) -> bool {
        *self.signal.borrow() == Signal::Waiting
    }
}
