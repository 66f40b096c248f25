//! One line as this node knows it: the rank of every place, the visitors who watch here, and
//! whether the line moves. The stream of changes feeds it; watchers read it without asking Redis.

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
    api::{
        catalogue::RoomSettings,
        line::{Interval, PlaceState},
    },
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
    scripts::{
        answers::AdmittedSeen, change::LineChange, keys::LineKeys, progress::Progress, spot::Spot,
    },
};
use desk::{Desk, JoinQueue};
use forecast::Forecast;
use gate::{Gate, Opening};
use pace::Pace;
use picture::Picture;
use signal::Signal;
use snapshot::Snapshot;
use visitors::Visitors;

/// How long an empty line is still tended after the last request for it.
const UNUSED_AFTER: Duration = Duration::from_secs(5);
/// Longest wait until this node reads from the stream a change that it made itself.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// A line, in the memory of this node.
pub(crate) struct Line {
    pub(crate) show: ShowId,
    pub(crate) keys: LineKeys,
    /// Whether the line moves, or why not.
    pub(crate) gate: watch::Sender<Gate>,
    /// Where joins wait for their places.
    pub(crate) desk: Desk,
    /// Cancelled once this node no longer tends the line.
    pub(crate) over: CancellationToken,
    progress: watch::Sender<Progress>,
    /// What the last sweep found about admitted visitors.
    admitted: Mutex<AdmittedSeen>,
    memory: Mutex<Memory>,
}

/// What a visitor is told about the place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    /// `None` before the draw, and while no number can be told after a loss.
    pub(crate) ahead: Option<u64>,
    /// The last number that this node knows the visitor was told; it stays while none can be told.
    pub(crate) told: Option<u64>,
    pub(crate) waiting: u64,
    pub(crate) eta: Option<Interval>,
    /// Visitors admitted per second.
    pub(crate) rate: f64,
}

/// Whether a change continued this node's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    /// A change is missing, or the line began anew.
    Gap,
}

struct Memory {
    picture: Picture,
    visitors: Visitors,
    forecast: Forecast,
    pace: Pace,
    heard_at: Instant,
    /// When a request last asked for the line here.
    asked_at: Instant,
    /// Whether the last sweep found nobody waiting, admitted, or being admitted.
    is_deserted: bool,
}

impl Line {
    /// A line, and the joins that come to its desk; the round `join` serves them.
    pub(crate) fn new(show: ShowId) -> (Self, JoinQueue) {
        let (desk, queue) = Desk::new();
        let line = Self {
            show,
            keys: LineKeys::of(show),
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

    /// Waits until this node has read the change from the stream.
    pub(crate) async fn caught_up(&self, at: Progress) -> Result<(), LineError> {
        let mut progress = self.progress.subscribe();
        let seen = progress.wait_for(|seen| *seen >= at);
        match timeout(CATCH_UP_MAX, seen).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(LineError::NotReady),
        }
    }

    /// The number ahead of a visitor, which never rises, and the expected wait.
    pub(crate) fn standing(
        &self,
        spot: &Spot,
        gate: Gate,
        room: &RoomSettings,
        opening: Opening,
    ) -> Standing {
        let mut guard = self.memory();
        let memory = &mut *guard;
        let waiting = memory.picture.waiting();
        let rate = memory.pace.as_of(Instant::now()).slowed(room).rate_per_second;
        // Whatever the gate: while lots are still added to the draw, the number might rise.
        if spot.is_drawn() && !opening.draw_is_told {
            return Standing { ahead: None, told: None, waiting, eta: None, rate };
        }
        let computed = memory.picture.ahead_of(spot.rank);
        let told = memory.visitors.ahead_told(spot.place.ticket);
        // Where no number can be told, the visitor keeps the last one.
        let is_sure = memory.picture.loss.is_sure();
        let ahead = is_sure.then(|| told.map_or(computed, |told| told.min(computed)));
        let moves = matches!(gate, Gate::Open | Gate::Early);
        let promise = ahead
            .filter(|_| moves)
            .and_then(|ahead| memory.forecast.promise(ahead, rate, opening.opens_in));
        memory.visitors.tell(spot.place.ticket, ahead, promise);
        Standing {
            ahead,
            told: ahead.or(told),
            waiting,
            eta: promise.map(|promise| promise.interval),
            rate,
        }
    }

    /// Notes the number that stands in a visitor's place ticket, signed by this node or another.
    pub(crate) fn was_told(&self, spot: &Spot, ahead: u64) {
        let mut memory = self.memory();
        memory.visitors.polled(spot);
        memory.visitors.tell(spot.place.ticket, Some(ahead), None);
    }

    /// Remembers a visitor who polls.
    pub(crate) fn polled(&self, spot: &Spot) {
        self.memory().visitors.polled(spot);
    }

    /// Registers a watcher of a place. Every call needs its [`Self::unwatch`].
    pub(crate) fn watch(&self, spot: &Spot, signal: Signal) -> watch::Receiver<Signal> {
        self.memory().visitors.watch(spot, signal)
    }

    /// Removes a watcher of a place.
    pub(crate) fn unwatch(&self, ticket: TicketId) {
        self.memory().visitors.unwatch(ticket);
    }

    /// Tells the watchers of a place what became of it.
    pub(crate) fn signal(&self, ticket: TicketId, signal: Signal) {
        self.memory().visitors.signal(ticket, signal);
    }

    /// Does something with the visitors this node has met.
    pub(crate) fn visitors<T>(&self, with: impl FnOnce(&mut Visitors) -> T) -> T {
        with(&mut self.memory().visitors)
    }

    /// Whether nobody waits, as far as this node knows; false until the picture is loaded.
    pub(crate) fn is_empty(&self) -> bool {
        self.memory().picture.is_empty()
    }

    /// Notes what a sweep found about admitted visitors.
    pub(crate) fn note_admitted(&self, seen: AdmittedSeen) {
        *self.admitted.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// What the last sweep found about admitted visitors; each unsettled place is returned once.
    pub(crate) fn take_admitted(&self) -> AdmittedSeen {
        let mut seen = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        AdmittedSeen { unsettled: std::mem::take(&mut seen.unsettled), ..*seen }
    }

    /// Visitors in the line.
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

    /// Takes over the backlog of the show's queues; called once a second.
    pub(crate) fn follow_backlog(&self, backlog: &Backlog) {
        self.memory().pace.follow(backlog, Instant::now());
        self.measure_pace();
    }

    /// Sets the metric of the pace.
    pub(crate) fn measure_pace(&self) {
        metrics::gauge!("usher_line_pace", "show" => self.show.to_string())
            .set(self.pace().factor());
    }

    /// How fast visitors may be admitted, given how far the queues are behind.
    pub(crate) fn pace(&self) -> Pace {
        self.memory().pace.as_of(Instant::now())
    }

    /// How long a lapsed pass still takes its slot under the cap: a booking posted in time is
    /// accepted with some leeway, and then waits for its decision.
    pub(crate) fn slot_grace(&self) -> Duration {
        PASS_LEEWAY + CONFIRM_WAIT + self.memory().pace.lag()
    }

    /// Sets the gate; watchers hear of a change at once.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.memory().forecast.moves(gate == Gate::Open);
        self.gate.send_if_modified(|was| std::mem::replace(was, gate) != gate);
    }

    /// Whether a visitor may have a valid pass that Redis lost.
    pub(crate) fn may_have_lost_passes(&self) -> bool {
        self.memory().picture.loss.may_have_taken_passes()
    }

    /// The last change this node has seen.
    pub(crate) fn seen(&self) -> Progress {
        self.memory().picture.seen()
    }

    /// The last change this node ever knew of, from the stream or from an answer of a script.
    pub(crate) fn known(&self) -> Progress {
        self.memory().picture.known()
    }

    /// Notes that the store has made this change.
    pub(crate) fn note_progress(&self, at: Progress) {
        self.memory().picture.note_progress(at);
    }

    /// The stream id to read on from; `None` where the picture must be loaded first.
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

    /// Puts off the next load, because the store does not have the line or the load failed.
    pub(crate) fn load_later(&self) {
        self.memory().picture.load_later();
    }

    /// Notes that a request asks for the line.
    pub(crate) fn note_asked(&self) {
        self.memory().asked_at = Instant::now();
    }

    /// Notes whether the store has nobody waiting, admitted, or being admitted.
    pub(crate) fn note_deserted(&self, is_deserted: bool) {
        self.memory().is_deserted = is_deserted;
    }

    /// Whether the line need not be tended: nobody is in it, watches it, or asked for it lately.
    pub(crate) fn is_unused(&self) -> bool {
        let memory = self.memory();
        memory.is_deserted
            && memory.picture.waiting() == 0
            && memory.picture.loss.is_over()
            && memory.visitors.is_empty()
            && memory.asked_at.elapsed() > UNUSED_AFTER
    }

    /// Whether the store, at this change, counted other visitors in the line than this node: then
    /// the store has lost some.
    pub(crate) fn differs(&self, at: Progress, waiting: u64) -> bool {
        self.memory().picture.differs(at, waiting)
    }

    /// The epoch after the last loss, and the ranks to announce to other nodes in this round. They
    /// are announced in several rounds, since a node may miss some.
    pub(crate) fn recalled(&self) -> (u32, Vec<u64>) {
        let mut memory = self.memory();
        (memory.picture.seen().epoch, memory.picture.loss.recalled())
    }

    /// Takes over a fresh picture.
    pub(crate) fn install(&self, fresh: Snapshot) {
        let mut memory = self.memory();
        if memory.picture.has_been_loaded() {
            // The changes between the two pictures were missed: visitors with a socket here may
            // have been admitted, ended or released.
            memory.visitors.note_all_unheld();
        }
        memory.picture.install(fresh);
        self.progress.send_replace(memory.picture.seen());
    }

    /// Applies one change of the stream.
    pub(crate) fn apply(&self, id: &str, change: LineChange) -> Applied {
        let mut guard = self.memory();
        let memory = &mut *guard;
        if !memory.picture.continues_with(&change) {
            return Applied::Gap;
        }
        let Some(gone) = memory.picture.apply(id, &change) else { return Applied::Yes };
        // One script made this change, so all of its ranks left or all were admitted.
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
        memory.visitors.note_unheld(change.released);
        self.progress.send_replace(change.at);
        Applied::Yes
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
