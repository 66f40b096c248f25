//! One line as this node knows it: who stands where, who watches from here, how it stands. Fed by
//! the stream of changes; read by every watcher without asking the store.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contract::{
    ShowId, TicketId,
    api::line::{Interval, PlaceState},
    place_ticket::Place,
};
use store::{admissions::Admission, backlogs::Backlog};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use crate::{
    LineError,
    change::{Change, Snapshot},
    forecast::{Forecast, Told},
    gate::Gate,
    index::Index,
    keys::Keys,
    pace::Pace,
    spot::Spot,
};

/// Visitors without a socket whose last number a node remembers. Past that, it forgets: they
/// might see the number a stale node told them rise.
const POLLERS_MAX: usize = 200_000;
/// Longest wait for this node to hear of a change that it made itself.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// A line, in the memory of this node.
pub(crate) struct Line {
    pub show: ShowId,
    pub keys: Keys,
    /// How it stands.
    pub gate: watch::Sender<Gate>,
    /// Held by the one who reserves numbers.
    pub reserving: Semaphore,
    progress: watch::Sender<Progress>,
    memory: Mutex<Memory>,
}

/// Which change was the last this node has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub epoch: u32,
    pub seq: u64,
}

/// What a watcher must know of its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Waiting,
    Admitted(Admission),
    Ended(PlaceState),
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

struct Memory {
    /// Whether the picture is whole; where it is not, it is loaded again.
    loaded: bool,
    seen: Progress,
    /// The last id read from the stream.
    last_id: String,
    index: Index,
    /// The line as it was before the store lost it: of those who left it then, the store does
    /// not know, and they must not count again.
    lost: Option<Index>,
    forecast: Forecast,
    pace: Pace,
    /// Until then visitors come back after a loss, and those who have not yet count as well.
    settles_at: Option<Instant>,
    /// Until then admission waits for them, and no number is told.
    held_until: Option<Instant>,
    /// Whether this node knows who they are: it saw the line before the loss.
    knows_the_lost: bool,
    /// The epoch under which this node's watchers are known to the store.
    registered_epoch: Option<u32>,
    heard_at: Instant,
    visitors: HashMap<TicketId, Visitor>,
}

struct Visitor {
    spot: Spot,
    /// The smallest number told so far.
    ahead_told: Option<u64>,
    told: Told,
    sockets: u32,
    /// When it last polled, or closed a socket.
    polled_at: Instant,
    signal: watch::Sender<Signal>,
}

impl Line {
    pub(crate) fn new(show: ShowId) -> Self {
        Self {
            show,
            keys: Keys::of(show),
            gate: watch::Sender::new(Gate::Held),
            reserving: Semaphore::new(1),
            progress: watch::Sender::new(Progress::default()),
            memory: Mutex::new(Memory {
                loaded: false,
                seen: Progress::default(),
                last_id: "0-0".into(),
                index: Index::default(),
                lost: None,
                forecast: Forecast::new(),
                pace: Pace::default(),
                settles_at: None,
                held_until: None,
                knows_the_lost: false,
                registered_epoch: None,
                heard_at: Instant::now(),
                visitors: HashMap::new(),
            }),
        }
    }

    /// Waits until this node has seen the change `seq` of the epoch.
    pub(crate) async fn caught_up(&self, epoch: u32, seq: u64) -> Result<(), LineError> {
        let mut progress = self.progress.subscribe();
        let seen = progress.wait_for(|seen| (seen.epoch, seen.seq) >= (epoch, seq));
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
        opens_in: Duration,
    ) -> Standing {
        let mut guard = self.memory();
        let memory = &mut *guard;
        let waiting = memory.index.len();
        if matches!(gate, Gate::Early { lottery: true }) {
            return Standing { ahead: None, waiting, eta: None };
        }
        let computed = memory.ahead_of(spot.rank);
        let now = Instant::now();
        let is_held = memory.held_until.is_some_and(|at| now < at);
        let settles = memory.settles_at.is_some_and(|at| now < at);
        let visitor = memory.visitors.get_mut(&spot.place.ticket);
        let told = visitor.as_ref().and_then(|visitor| visitor.ahead_told);
        // While visitors come back, another node may have told less than this one. One that does
        // not know who may still come back cannot tell a number that will not have to rise. What
        // the visitor knows stands.
        let is_sure = !is_held && (!settles || memory.knows_the_lost);
        let ahead = is_sure.then(|| told.map_or(computed, |told| told.min(computed)));
        let moves = matches!(gate, Gate::Open | Gate::Early { .. });
        let promise = ahead
            .filter(|_| moves)
            .and_then(|ahead| memory.forecast.promise(ahead, rate, opens_in));
        if let Some(visitor) = visitor {
            visitor.ahead_told = ahead.or(told);
            if let Some(promise) = promise {
                visitor.told.note(promise, spot.place.ticket);
            }
        }
        Standing { ahead, waiting, eta: promise.map(|promise| promise.interval) }
    }

    /// Notes what a visitor was told with the ticket, by this node or another.
    pub(crate) fn was_told(&self, spot: &Spot, ahead: u64) {
        self.polled(spot);
        if let Some(visitor) = self.memory().visitors.get_mut(&spot.place.ticket) {
            let least = visitor.ahead_told.map_or(ahead, |told| told.min(ahead));
            visitor.ahead_told = Some(least);
        }
    }

    /// Remembers a visitor who polls.
    pub(crate) fn polled(&self, spot: &Spot) {
        let mut memory = self.memory();
        let full = memory.visitors.len() >= POLLERS_MAX;
        if let Some(visitor) = memory.visitors.get_mut(&spot.place.ticket) {
            visitor.polled_at = Instant::now();
        } else if !full {
            memory.visitors.insert(spot.place.ticket, Visitor::new(spot, Signal::Waiting));
        }
    }

    /// Registers a socket. Every call needs its [`Self::unwatch`].
    pub(crate) fn watch(&self, spot: &Spot, signal: Signal) -> watch::Receiver<Signal> {
        let mut memory = self.memory();
        let visitor =
            memory.visitors.entry(spot.place.ticket).or_insert_with(|| Visitor::new(spot, signal));
        visitor.sockets += 1;
        if signal != Signal::Waiting {
            visitor.signal.send_replace(signal);
        }
        visitor.signal.subscribe()
    }

    /// Takes a socket off the register.
    pub(crate) fn unwatch(&self, ticket: TicketId) {
        let mut memory = self.memory();
        if let Some(visitor) = memory.visitors.get_mut(&ticket) {
            visitor.sockets = visitor.sockets.saturating_sub(1);
            visitor.polled_at = Instant::now();
        }
    }

    /// Tells those who watch a ticket.
    pub(crate) fn signal(&self, ticket: TicketId, signal: Signal) {
        self.memory().signal(ticket, signal);
    }

    /// The places whose sockets are here and that wait still.
    pub(crate) fn watched(&self) -> Vec<Place> {
        let memory = self.memory();
        let here = memory
            .visitors
            .values()
            .filter(|visitor| visitor.sockets > 0 && *visitor.signal.borrow() == Signal::Waiting);
        here.map(|visitor| visitor.spot.place.clone()).collect()
    }

    /// Forgets visitors without a socket who were not heard of for so long.
    pub(crate) fn forget_silent(&self, after: Duration) {
        let mut memory = self.memory();
        memory
            .visitors
            .retain(|_, visitor| visitor.sockets > 0 || visitor.polled_at.elapsed() <= after);
    }

    /// Whether nobody waits, as far as this node knows; false while it does not.
    pub(crate) fn is_empty(&self) -> bool {
        let memory = self.memory();
        memory.loaded && memory.index.is_empty()
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
        let mut memory = self.memory();
        memory.pace.follow(backlog);
        metrics::gauge!("usher_line_pace", "show" => self.show.to_string())
            .set(memory.pace.factor());
    }

    /// How fast visitors may be let in, by what the queues can take.
    pub(crate) fn pace(&self) -> Pace {
        self.memory().pace
    }

    /// Sets how the line stands; watchers hear of it at once.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.memory().forecast.moves(gate == Gate::Open);
        self.gate.send_if_modified(|was| std::mem::replace(was, gate) != gate);
    }

    /// The last change this node has seen.
    pub(crate) fn seen(&self) -> Progress {
        self.memory().seen
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
        self.memory().loaded = false;
    }

    /// Whether this node's watchers must be registered again under a new epoch.
    pub(crate) fn must_register(&self, epoch: u32) -> bool {
        self.memory().registered_epoch.is_some_and(|registered| registered != epoch)
    }

    /// Notes that they are.
    pub(crate) fn registered(&self, epoch: u32) {
        self.memory().registered_epoch = Some(epoch);
    }

    /// Takes over a fresh picture.
    pub(crate) fn install(&self, snapshot: Snapshot) {
        let mut memory = self.memory();
        memory.settles_at = snapshot.settles_in.map(|wait| Instant::now() + wait);
        memory.held_until = snapshot.held_for.map(|wait| Instant::now() + wait);
        let was = std::mem::replace(&mut memory.index, snapshot.index);
        // Loaded again within the same epoch, it knows whom it knew.
        let lost_now = memory.seen.epoch > 0 && snapshot.seen.epoch > memory.seen.epoch;
        memory.knows_the_lost = memory.settles_at.is_some() && (lost_now || memory.knows_the_lost);
        if memory.knows_the_lost {
            memory.index.merge(&was);
        }
        if lost_now {
            memory.lost = Some(was);
        }
        memory.loaded = true;
        // Nobody watches from here before the first picture is there.
        memory.registered_epoch.get_or_insert(snapshot.seen.epoch);
        memory.seen = snapshot.seen;
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
        let gone = change.gone.into_iter().filter(|rank| memory.index.remove(*rank)).count();
        // One script took them all: they left, or they were let in.
        let gone = gone as u64;
        let left = !change.left.is_empty() || !change.expired.is_empty();
        let (admitted, left) = if left { (0, gone) } else { (gone, 0) };
        memory.forecast.gone(admitted, left, memory.index.len());
        for ticket in change.left {
            memory.signal(ticket, Signal::Ended(PlaceState::Left));
        }
        for ticket in change.expired {
            memory.signal(ticket, Signal::Ended(PlaceState::Expired));
        }
        for (ticket, admitted_at) in change.admitted {
            if let Some(visitor) = memory.visitors.get(&ticket) {
                let account = visitor.spot.place.account;
                if *visitor.signal.borrow() == Signal::Waiting {
                    memory.forecast.ends(&visitor.told);
                }
                let admission =
                    Admission { ticket, account, admitted_at, valid_until: None, spent: None };
                memory.signal(ticket, Signal::Admitted(admission));
            }
        }
        memory.seen = change.at;
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

    fn signal(&self, ticket: TicketId, signal: Signal) {
        if let Some(visitor) = self.visitors.get(&ticket) {
            visitor.signal.send_if_modified(|was| std::mem::replace(was, signal) != signal);
        }
    }
}

impl Visitor {
    fn new(spot: &Spot, signal: Signal) -> Self {
        Self {
            spot: spot.clone(),
            ahead_told: None,
            told: Told::default(),
            sockets: 0,
            polled_at: Instant::now(),
            signal: watch::Sender::new(signal),
        }
    }
}
