//! One line as this node knows it: who stands where, who watches from here, how it stands. Fed by
//! the stream of changes; read by every watcher without asking the store.

pub(crate) mod gate;
pub(crate) mod pace;
pub(crate) mod stock;
pub(crate) mod desk;
pub(crate) mod visitors;
pub(crate) mod index;
pub(crate) mod snapshot;
pub(crate) mod signal;
mod picture;
mod loss;
mod forecast;
mod estimate;
mod promise;
pub(crate) mod cadence;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contract::{
    ShowId, TicketId,
    api::line::{Interval, PlaceState},
    deadline::{CONFIRM_WAIT, PASS_LEEWAY},
};
use store::{admissions::Admission, backlogs::Backlog};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    LineError,
    scripts::{change::Change, keys::Keys, progress::Progress, spot::Spot},
};
use desk::{Desk, JoinQueue};
use forecast::Forecast;
use gate::{Gate, Opening};
use pace::Pace;
use picture::Picture;
use signal::Signal;
use snapshot::Snapshot;
use visitors::Visitors;

/// A line that nobody is in is tended so long after somebody asked for it.
const UNUSED_AFTER: Duration = Duration::from_secs(5);
/// Longest wait for this node to hear of a change that it made itself.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// A line, in the memory of this node.
pub(crate) struct Line {
    pub show: ShowId,
    pub keys: Keys,
    /// How it stands.
    pub gate: watch::Sender<Gate>,
    /// Where places are asked for.
    pub desk: Desk,
    /// Cancelled once this node does not tend it any more.
    pub over: CancellationToken,
    progress: watch::Sender<Progress>,
    /// What the last sweep found about those who were let in.
    admitted: Mutex<AdmittedSeen>,
    memory: Mutex<Memory>,
}

/// What a visitor is told of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `None` while it is not drawn.
    pub ahead: Option<u64>,
    pub waiting: u64,
    pub eta: Option<Interval>,
}

/// What a join, a touch or a change found to be wrong with this node's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    /// A change is missing, or the line began anew.
    Gap,
}

/// What a sweep finds about those who were let in.
#[derive(Default)]
pub(crate) struct AdmittedSeen {
    pub active: u64,
    /// Taken from the line by a node that did not finish.
    pub unsettled: Vec<Spot>,
}

struct Memory {
    picture: Picture,
    visitors: Visitors,
    forecast: Forecast,
    pace: Pace,
    heard_at: Instant,
    /// When somebody last asked for the line here.
    asked_at: Instant,
    /// Whether the last look at the store found nobody: in the line, let in, or on the way in.
    is_deserted: bool,
}

impl Line {
    /// A line, and what is asked at its desk, to be served by the round `join`.
    pub(crate) fn new(show: ShowId) -> (Self, JoinQueue) {
        let (desk, queue) = Desk::new();
        let line = Self {
            show,
            keys: Keys::of(show),
            gate: watch::Sender::new(Gate::Held),
            desk,
            over: CancellationToken::new(),
            progress: watch::Sender::new(Progress::default()),
            admitted: Mutex::default(),
            memory: Mutex::new(Memory {
                picture: Picture::new(),
                visitors: Visitors::default(),
                forecast: Forecast::new(),
                pace: Pace::new(Instant::now()),
                heard_at: Instant::now(),
                asked_at: Instant::now(),
                is_deserted: false,
            }),
        };
        (line, queue)
    }

    /// Waits until this node has seen the change.
    pub(crate) async fn caught_up(&self, at: Progress) -> Result<(), LineError> {
        let mut progress = self.progress.subscribe();
        let seen = progress.wait_for(|seen| *seen >= at);
        match timeout(CATCH_UP_MAX, seen).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(LineError::NotReady),
        }
    }

    /// The number of somebody, which never rises, and the wait. `rate` is what the room is set
    /// to, per second.
    pub(crate) fn standing(
        &self,
        spot: &Spot,
        gate: Gate,
        rate: f64,
        opening: Opening,
    ) -> Standing {
        let mut guard = self.memory();
        let memory = &mut *guard;
        let waiting = memory.picture.waiting();
        // However the line stands: a number of a draw that is not closed might rise.
        if spot.is_drawn() && !opening.draw_is_told {
            return Standing { ahead: None, waiting, eta: None };
        }
        let computed = memory.picture.ahead_of(spot.rank);
        let told = memory.visitors.ahead_told(spot.place.ticket);
        // Where none can be told, what the visitor knows stands.
        let is_sure = memory.picture.loss.is_sure();
        let ahead = is_sure.then(|| told.map_or(computed, |told| told.min(computed)));
        let moves = matches!(gate, Gate::Open | Gate::Early);
        let promise = ahead
            .filter(|_| moves)
            .and_then(|ahead| memory.forecast.promise(ahead, rate, opening.opens_in));
        memory.visitors.tell(spot.place.ticket, ahead, promise);
        Standing { ahead, waiting, eta: promise.map(|promise| promise.interval) }
    }

    /// Notes what a visitor was told with the ticket, by this node or another.
    pub(crate) fn was_told(&self, spot: &Spot, ahead: u64) {
        let mut memory = self.memory();
        memory.visitors.polled(spot);
        memory.visitors.tell(spot.place.ticket, Some(ahead), None);
    }

    /// Remembers a visitor who polls.
    pub(crate) fn polled(&self, spot: &Spot) {
        self.memory().visitors.polled(spot);
    }

    /// Registers a socket. Every call needs its [`Self::unwatch`].
    pub(crate) fn watch(&self, spot: &Spot, signal: Signal) -> watch::Receiver<Signal> {
        self.memory().visitors.watch(spot, signal)
    }

    /// Takes a socket off the register.
    pub(crate) fn unwatch(&self, ticket: TicketId) {
        self.memory().visitors.unwatch(ticket);
    }

    /// Tells those who watch a ticket.
    pub(crate) fn signal(&self, ticket: TicketId, signal: Signal) {
        self.memory().visitors.signal(ticket, signal);
    }

    /// Does something with the visitors this node has met.
    pub(crate) fn visitors<T>(&self, with: impl FnOnce(&mut Visitors) -> T) -> T {
        with(&mut self.memory().visitors)
    }

    /// Whether nobody waits, as far as this node knows; false while it does not.
    pub(crate) fn is_empty(&self) -> bool {
        self.memory().picture.is_empty()
    }

    /// Notes what a sweep found about those who were let in.
    pub(crate) fn note_admitted(&self, seen: AdmittedSeen) {
        *self.admitted.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Takes it: how many were active, and what a node did not finish.
    pub(crate) fn take_admitted(&self) -> AdmittedSeen {
        let mut seen = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        AdmittedSeen { unsettled: std::mem::take(&mut seen.unsettled), ..*seen }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.memory().picture.waiting()
    }

    /// Notes that the store answered.
    pub(crate) fn heard(&self) {
        self.memory().heard_at = Instant::now();
    }

    /// How long the store has been silent.
    pub(crate) fn store_silent(&self) -> Duration {
        self.memory().heard_at.elapsed()
    }

    /// Takes over how far the show's queues are behind; once a second.
    pub(crate) fn follow_backlog(&self, backlog: &Backlog) {
        self.memory().pace.follow(backlog, Instant::now());
        self.measure_pace();
    }

    /// Measures how fast visitors may be let in.
    pub(crate) fn measure_pace(&self) {
        metrics::gauge!("usher_line_pace", "show" => self.show.to_string())
            .set(self.pace().factor());
    }

    /// How fast visitors may be let in, by what the queues can take.
    pub(crate) fn pace(&self) -> Pace {
        self.memory().pace.at(Instant::now())
    }

    /// For how long a lapsed pass still takes its slot under the cap: what was posted with it in time is
    /// taken with some leeway, and may wait for its decision.
    pub(crate) fn slot_grace(&self) -> Duration {
        PASS_LEEWAY + CONFIRM_WAIT + self.memory().pace.lag()
    }

    /// Sets how the line stands; watchers hear of it at once.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.memory().forecast.moves(gate == Gate::Open);
        self.gate.send_if_modified(|was| std::mem::replace(was, gate) != gate);
    }

    /// Whether somebody may have a pass of which the store has lost everything.
    pub(crate) fn may_have_lost_passes(&self) -> bool {
        self.memory().picture.loss.may_have_taken_passes()
    }

    /// The last change this node has seen.
    pub(crate) fn seen(&self) -> Progress {
        self.memory().picture.seen()
    }

    /// The last change this node ever knew of, by the stream or an answer.
    pub(crate) fn known(&self) -> Progress {
        self.memory().picture.known()
    }

    /// Notes that the store told of a change.
    pub(crate) fn note(&self, at: Progress) {
        self.memory().picture.note(at);
    }

    /// Where to read on in the stream; `None` where the picture must be loaded first.
    pub(crate) fn read_from(&self) -> Option<String> {
        self.memory().picture.read_from()
    }

    /// Makes this node load the picture again.
    pub(crate) fn mark_stale(&self) {
        self.memory().picture.mark_stale();
    }

    /// Whether the picture is to be loaded now.
    pub(crate) fn is_due(&self) -> bool {
        self.memory().picture.is_due()
    }

    /// The store does not have the line, or it cannot be loaded: it is tried again a little later.
    pub(crate) fn load_later(&self) {
        self.memory().picture.load_later();
    }

    /// Notes that somebody asks for the line.
    pub(crate) fn asked(&self) {
        self.memory().asked_at = Instant::now();
    }

    /// Notes whether anybody has to do with the line, as the store knows it.
    pub(crate) fn note_deserted(&self, is_deserted: bool) {
        self.memory().is_deserted = is_deserted;
    }

    /// Whether it need not be tended: nobody is in it, nobody watches it, nobody asked lately.
    pub(crate) fn is_unused(&self) -> bool {
        let memory = self.memory();
        memory.is_deserted
            && memory.picture.waiting() == 0
            && memory.picture.loss.is_over()
            && memory.visitors.is_empty()
            && memory.asked_at.elapsed() > UNUSED_AFTER
    }

    /// Whether the store, at this change, had another number of visitors in the line than this
    /// node knows of: then it has lost some of them.
    pub(crate) fn differs(&self, at: Progress, waiting: u64) -> bool {
        self.memory().picture.differs(at, waiting)
    }

    /// What other nodes must be told after a loss, some times over as they may not hear all of it,
    /// and the epoch that followed the loss.
    pub(crate) fn recalled(&self) -> (u32, Vec<u64>) {
        let mut memory = self.memory();
        (memory.picture.seen().epoch, memory.picture.loss.recalled())
    }

    /// Takes over a fresh picture.
    pub(crate) fn install(&self, fresh: Snapshot) {
        let mut memory = self.memory();
        if memory.picture.has_been_loaded() {
            // What was told between the pictures is not known: who was let in, left, was let go of.
            memory.visitors.all_unheld();
        }
        memory.picture.install(fresh);
        self.progress.send_replace(memory.picture.seen());
    }

    /// Takes over one change.
    pub(crate) fn apply(&self, id: &str, change: Change) -> Applied {
        let mut guard = self.memory();
        let memory = &mut *guard;
        if !memory.picture.continues_with(&change) {
            return Applied::Gap;
        }
        let Some(gone) = memory.picture.apply(id, &change) else { return Applied::Yes };
        // One script took them all: they left, or they were let in.
        let left = !change.left.is_empty() || !change.expired.is_empty();
        let (admitted, left) = if left { (0, gone) } else { (gone, 0) };
        memory.forecast.gone(admitted, left, memory.picture.waiting());
        for ticket in change.left {
            memory.visitors.signal(ticket, Signal::Ended(PlaceState::Left));
        }
        for ticket in change.expired {
            memory.visitors.signal(ticket, Signal::Ended(PlaceState::Expired));
        }
        for (ticket, admitted_at) in change.admitted {
            let Some((account, told)) = memory.visitors.met(ticket) else { continue };
            if let Some(told) = told {
                memory.forecast.ends(told);
            }
            let admission =
                Admission { ticket, account, admitted_at, valid_until: None, spent: None };
            memory.visitors.signal(ticket, Signal::Admitted(admission));
        }
        memory.visitors.are_unheld(change.released);
        self.progress.send_replace(change.at);
        Applied::Yes
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
