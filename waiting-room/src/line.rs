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
mod forecast;
mod estimate;
mod promise;
pub(crate) mod cadence;

use std::{
    collections::VecDeque,
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
use desk::{Asked, Desk};
use forecast::Forecast;
use gate::{Gate, Opening};
use index::Index;
use pace::Pace;
use signal::Signal;
use snapshot::Snapshot;
use visitors::Visitors;

/// How often they are recalled after a loss, once a second.
const RECALLS: u8 = 5;
/// A node that reads the changes of the line is seldom further behind than this.
const BEHIND_MAX: Duration = Duration::from_secs(3);
/// Ranks of those gone lately that are kept at most.
const GONE_LATELY_MAX: usize = 10_000;
/// A line that nobody is in is tended so long after somebody asked for it.
const UNUSED_AFTER: Duration = Duration::from_secs(5);
/// A line that the store does not have, or that cannot be loaded, is tried again this often.
const LOAD_AGAIN_AFTER: Duration = Duration::from_millis(250);
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
    /// Whether the picture is whole; where it is not, it is loaded again.
    loaded: bool,
    seen: Progress,
    /// The last change this node ever knew of: a store that has less has gone back in time.
    known: Progress,
    /// The last id read from the stream.
    last_id: String,
    index: Index,
    /// The line as it was before the store lost it: of those who left it then, the store does
    /// not know, and they must not count again.
    lost: Option<Index>,
    /// Who was gone from the line lately, and when: should it be lost, other nodes may not know.
    gone_lately: VecDeque<(Instant, u64)>,
    /// These they must be told, and how often still.
    to_recall: Vec<u64>,
    recalls_left: u8,
    forecast: Forecast,
    pace: Pace,
    /// Until then visitors come back after a loss, and those who have not yet count as well.
    settles_at: Option<Instant>,
    /// Until then admission waits for them, and no number is told.
    held_until: Option<Instant>,
    /// Until then a pass of before the loss may be taken, of which the store knows nothing.
    lost_passes_until: Option<Instant>,
    /// Whether this node knows who they are: it saw the line before the loss.
    knows_the_lost: bool,
    heard_at: Instant,
    visitors: Visitors,
    /// When somebody last asked for the line here.
    asked_at: Instant,
    /// Whether the last look at the store found nobody: in the line, let in, or on the way in.
    is_deserted: bool,
    /// The store does not have the line: it is not loaded before.
    load_at: Option<Instant>,
}

impl Line {
    /// A line, and what is asked at its desk, to be served by the round `join`.
    pub(crate) fn new(show: ShowId) -> (Self, Asked) {
        let (desk, asked) = Desk::new();
        let line = Self {
            show,
            keys: Keys::of(show),
            gate: watch::Sender::new(Gate::Held),
            desk,
            over: CancellationToken::new(),
            progress: watch::Sender::new(Progress::default()),
            admitted: Mutex::default(),
            memory: Mutex::new(Memory {
                loaded: false,
                seen: Progress::default(),
                known: Progress::default(),
                last_id: "0-0".into(),
                index: Index::default(),
                lost: None,
                gone_lately: VecDeque::new(),
                to_recall: Vec::new(),
                recalls_left: 0,
                forecast: Forecast::new(),
                pace: Pace::new(Instant::now()),
                settles_at: None,
                held_until: None,
                lost_passes_until: None,
                knows_the_lost: false,
                heard_at: Instant::now(),
                visitors: Visitors::default(),
                asked_at: Instant::now(),
                is_deserted: false,
                load_at: None,
            }),
        };
        (line, asked)
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
        let waiting = memory.index.len();
        // However the line stands: a number of a draw that is not closed might rise.
        if spot.is_drawn() && !opening.draw_is_told {
            return Standing { ahead: None, waiting, eta: None };
        }
        let computed = memory.ahead_of(spot.rank);
        let now = Instant::now();
        let is_held = memory.held_until.is_some_and(|at| now < at);
        let settles = memory.settles_at.is_some_and(|at| now < at);
        let told = memory.visitors.ahead_told(spot.place.ticket);
        // While visitors come back, another node may have told less than this one. One that does
        // not know who may still come back cannot tell a number that will not have to rise. What
        // the visitor knows stands.
        let is_sure = !is_held && (!settles || memory.knows_the_lost);
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
        let memory = self.memory();
        memory.loaded && memory.index.is_empty()
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
        self.memory().index.len()
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
        self.memory().lost_passes_until.is_some_and(|at| Instant::now() < at)
    }

    /// The last change this node has seen.
    pub(crate) fn seen(&self) -> Progress {
        self.memory().seen
    }

    /// The last change this node ever knew of, by the stream or an answer.
    pub(crate) fn known(&self) -> Progress {
        self.memory().known
    }

    /// Notes that the store told of a change.
    pub(crate) fn note(&self, at: Progress) {
        let mut memory = self.memory();
        memory.known = memory.known.max(at);
    }

    /// Where to read on in the stream; `None` where the picture must be loaded first.
    pub(crate) fn read_from(&self) -> Option<String> {
        let mut memory = self.memory();
        if memory.settles_at.is_some_and(|at| Instant::now() >= at) {
            // Whoever has not come back is not counted any more.
            memory.settles_at = None;
            memory.loaded = false;
        }
        memory.loaded.then(|| memory.last_id.clone())
    }

    /// Makes this node load the picture again.
    pub(crate) fn mark_stale(&self) {
        let mut memory = self.memory();
        memory.loaded = false;
        memory.load_at = None;
    }

    /// Whether the picture is to be loaded now.
    pub(crate) fn is_due(&self) -> bool {
        let memory = self.memory();
        !memory.loaded && memory.load_at.is_none_or(|at| Instant::now() >= at)
    }

    /// The store does not have the line, or it cannot be loaded: it is tried again a little later.
    pub(crate) fn load_later(&self) {
        self.memory().load_at = Some(Instant::now() + LOAD_AGAIN_AFTER);
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
            && memory.index.is_empty()
            && memory.visitors.is_empty()
            && memory.to_recall.is_empty()
            && memory.settles_at.is_none()
            && memory.asked_at.elapsed() > UNUSED_AFTER
    }

    /// Whether the store, at this change, had another number of visitors in the line than this
    /// node knows of: then it has lost some of them.
    pub(crate) fn differs(&self, at: Progress, waiting: u64) -> bool {
        let memory = self.memory();
        let comparable = memory.loaded && memory.settles_at.is_none() && memory.seen == at;
        comparable && memory.index.len() != waiting
    }

    /// What other nodes must be told after a loss, some times over as they may not hear all of it,
    /// and the epoch that followed the loss.
    pub(crate) fn recalled(&self) -> (u32, Vec<u64>) {
        let mut memory = self.memory();
        memory.recalls_left = memory.recalls_left.saturating_sub(1);
        if memory.recalls_left == 0 {
            memory.to_recall = Vec::new();
        }
        (memory.seen.epoch, memory.to_recall.clone())
    }

    /// Takes over a fresh picture.
    pub(crate) fn install(&self, snapshot: Snapshot) {
        let mut guard = self.memory();
        let memory = &mut *guard;
        let was_settling = memory.settles_at.is_some();
        memory.settles_at = snapshot.settles_in.map(|wait| Instant::now() + wait);
        memory.held_until = snapshot.held_for.map(|wait| Instant::now() + wait);
        memory.lost_passes_until = snapshot.lost_passes_for.map(|wait| Instant::now() + wait);
        let was = std::mem::replace(&mut memory.index, snapshot.index);
        // Loaded again within the same epoch, it knows whom it knew.
        if memory.seen.epoch > 0 {
            // What was told between the pictures is not known: who was let in, left, was let go of.
            memory.visitors.all_unheld();
        }
        let lost_now = memory.seen.epoch > 0 && snapshot.seen.epoch > memory.seen.epoch;
        memory.knows_the_lost = memory.settles_at.is_some() && (lost_now || memory.knows_the_lost);
        if lost_now {
            // Lost again before it has settled: the first loss is the one that counts.
            if memory.lost.is_none() || !was_settling {
                memory.lost = Some(was.clone());
            }
            let gone = memory.gone_lately.drain(..).map(|(_, rank)| rank).collect::<Vec<_>>();
            memory.to_recall.extend(gone);
            memory.recalls_left = RECALLS + 1;
        }
        // Of those lost, whoever may still come back. Of all others the snapshot knows.
        if memory.knows_the_lost
            && let Some(lost) = &memory.lost
        {
            memory.index.merge_common(&was, lost);
        }
        memory.loaded = true;
        memory.seen = snapshot.seen;
        memory.known = memory.known.max(snapshot.seen);
        memory.last_id = snapshot.last_id;
        self.progress.send_replace(snapshot.seen);
    }

    /// Takes over one change.
    pub(crate) fn apply(&self, id: &str, change: Change) -> Applied {
        let mut guard = self.memory();
        let memory = &mut *guard;
        if !memory.loaded || change.at.epoch != memory.seen.epoch || change.opened {
            memory.loaded = false;
            return Applied::Gap;
        }
        if change.at.seq > memory.seen.seq + 1 {
            memory.loaded = false;
            return Applied::Gap;
        }
        id.clone_into(&mut memory.last_id);
        if change.at.seq <= memory.seen.seq {
            return Applied::Yes;
        }
        for rank in change.joined {
            memory.index.insert(rank);
        }
        let now = Instant::now();
        let gone: Vec<u64> =
            change.gone.into_iter().filter(|rank| memory.index.remove(*rank)).collect();
        memory.gone_lately.extend(gone.iter().map(|rank| (now, *rank)));
        let older = |(at, _): &(Instant, u64)| now.duration_since(*at) > BEHIND_MAX;
        while memory.gone_lately.len() > GONE_LATELY_MAX
            || memory.gone_lately.front().is_some_and(older)
        {
            memory.gone_lately.pop_front();
        }
        if let Some(lost) = &mut memory.lost {
            change.recalled.into_iter().for_each(|rank| _ = lost.remove(rank));
        }
        // One script took them all: they left, or they were let in.
        let gone = gone.len() as u64;
        let left = !change.left.is_empty() || !change.expired.is_empty();
        let (admitted, left) = if left { (0, gone) } else { (gone, 0) };
        memory.forecast.gone(admitted, left, memory.index.len());
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
        memory.seen = change.at;
        memory.known = memory.known.max(change.at);
        self.progress.send_replace(change.at);
        Applied::Yes
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// How many are ahead of a rank: no more than there were when the store lost the line.
    fn ahead_of(&self, rank: u64) -> u64 {
        let now = self.index.before(rank);
        let lost = self.lost.as_ref().filter(|lost| lost.contains(rank));
        lost.map_or(now, |lost| now.min(lost.before(rank)))
    }
}

#[cfg(test)]
mod tests;
