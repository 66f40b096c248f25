//! The seats of the shows that somebody watches, and what changed on them.
//!
//! An event is a reason to look at its seats, as for bookings: what a watcher is told was read from
//! the database. What is read follows what changes, not the size of the hall or the number of
//! watchers. A hold that has lapsed is told when it is swept, half a second later; where no allocator
//! serves its tier, at the next read of all seats.

mod picture;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use contract::{AccountId, SeatLabel, ShowId, api::catalogue::SeatsChange, api::problem::Code};
use futures_util::{StreamExt as _, stream};
use platform::{
    Shutdown,
    http::{
        ApiError, ApiResult,
        socket::{SocketSlot, Sockets},
    },
    number::float,
};
use store::{
    Pool, StoreResult,
    catalogue::{seat_map, shows},
};
use tokio::{
    sync::{OnceCell, broadcast},
    time::Instant,
};
use tracing::warn;

use crate::limits::SOCKETS_PER_ACCOUNT_MAX;
use picture::{Picture, Pieces};

/// How often changes are read and told.
const TICK: Duration = Duration::from_millis(250);
/// How often all seats of a watched show are read, as an event may be lost.
const READ_ALL_EVERY: Duration = Duration::from_mins(1);
/// A watched show whose changes could not be read for this long ends its sockets.
const UNREAD_MAX: Duration = Duration::from_secs(10);
/// Shows that are read at the same time.
const READS_AT_ONCE: usize = 4;
/// Seats that are looked for one by one; of more, the whole show is read.
const LOOKED_FOR_MAX: usize = 10_000;
/// Frames a socket may lag behind before it is closed as too slow: a change of all seats of the
/// largest hall, and as many again.
const LAG_MAX: usize = 256;
/// Shows that can be watched on a node, and seats that are taken in all of them; beyond, further
/// shows are refused with 503.
const SHOWS_MAX: usize = 1_000;
const SEATS_MAX: usize = 2_000_000;
/// Seconds after which a client that finds too many watched shows should come back.
const RETRY_AFTER_S: u64 = 5;

/// The watched shows of this node.
pub(crate) struct Seats {
    pool: Pool,
    sockets: Arc<Sockets>,
    /// A show is watched as long as somebody has it.
    shows: Mutex<HashMap<ShowId, Weak<Show>>>,
}

struct Show {
    id: ShowId,
    /// Set when the seats have been read for the first time.
    is_read: OnceCell<()>,
    picture: Mutex<Picture>,
    to_read: Mutex<ToRead>,
}

/// What must be read again.
struct ToRead {
    seats: HashSet<SeatLabel>,
    all: bool,
    /// When all seats are read even if there is no reason.
    all_at: Instant,
    failing_since: Option<Instant>,
}

enum Wanted {
    All,
    Seats(Vec<SeatLabel>),
}

impl ToRead {
    fn new() -> Self {
        let all_at = Instant::now() + READ_ALL_EVERY;
        Self { seats: HashSet::new(), all: false, all_at, failing_since: None }
    }

    /// Takes what is to be read now.
    fn take(&mut self) -> Option<Wanted> {
        let now = Instant::now();
        let seats = std::mem::take(&mut self.seats);
        if self.all || now >= self.all_at || seats.len() > LOOKED_FOR_MAX {
            self.all = false;
            self.all_at = now + READ_ALL_EVERY;
            return Some(Wanted::All);
        }
        (!seats.is_empty()).then(|| Wanted::Seats(seats.into_iter().collect()))
    }
}

/// One watcher of a show.
pub(crate) struct Watcher {
    _show: Arc<Show>,
    pub(crate) socket: SocketSlot,
    /// The state when the watcher came, until it is sent.
    pub(crate) whole: Pieces,
    /// Ends when the show's seats cannot be read.
    pub(crate) changes: broadcast::Receiver<Arc<SeatsChange>>,
}

impl Seats {
    pub(crate) fn new(pool: Pool) -> Self {
        let sockets = Sockets::new(SOCKETS_PER_ACCOUNT_MAX);
        Self { pool, sockets, shows: Mutex::default() }
    }

    /// Begins to watch a show. 404 if there is none; 503 if too many shows are watched, or if the
    /// database does not answer.
    pub(crate) async fn watch(&self, show: ShowId, account: AccountId) -> ApiResult<Watcher> {
        let show = self.show(show)?;
        show.is_read.get_or_try_init(|| self.read_first(&show)).await?;
        let (whole, changes) = lock(&show.picture).subscribe().ok_or_else(away)?;
        let socket = self.sockets.enter(account);
        metrics::gauge!("usher_live_sockets").increment(1.0);
        Ok(Watcher { _show: show, socket, whole, changes })
    }

    /// The show, which is watched from now on.
    fn show(&self, id: ShowId) -> ApiResult<Arc<Show>> {
        let mut shows = lock(&self.shows);
        let watched = shows.get(&id).and_then(Weak::upgrade);
        if let Some(show) = watched.filter(|show| !lock(&show.picture).has_ended()) {
            return Ok(show);
        }
        shows.retain(|_, show| show.strong_count() > 0);
        let watched = shows.values().filter_map(Weak::upgrade);
        let n_taken: usize = watched.map(|show| lock(&show.picture).n_taken()).sum();
        if shows.len() >= SHOWS_MAX || n_taken >= SEATS_MAX {
            let detail = "the seats of too many shows are watched on this node; connect again";
            return Err(ApiError::unavailable(Code::NodeFull, detail, RETRY_AFTER_S));
        }
        let show = Arc::new(Show {
            id,
            is_read: OnceCell::new(),
            picture: Mutex::new(Picture::new(LAG_MAX)),
            to_read: Mutex::new(ToRead::new()),
        });
        shows.insert(id, Arc::downgrade(&show));
        Ok(show)
    }

    async fn read_first(&self, show: &Show) -> ApiResult<()> {
        let found = shows::exists(&self.pool, show.id).await;
        if !found.map_err(|error| away().caused_by(error))? {
            return Err(ApiError::not_found(Code::ShowNotFound));
        }
        self.read_all(show).await.map_err(|error| away().caused_by(error))
    }

    /// Notes that these seats may have changed.
    pub(crate) fn touch(&self, show: ShowId, seats: &[SeatLabel]) {
        let watched = lock(&self.shows).get(&show).and_then(Weak::upgrade);
        if let Some(show) = watched {
            lock(&show.to_read).seats.extend(seats.iter().cloned());
        }
    }

    /// Notes that events may have been missed.
    pub(crate) fn touch_all(&self) {
        for show in self.watched() {
            lock(&show.to_read).all = true;
        }
    }

    fn watched(&self) -> Vec<Arc<Show>> {
        lock(&self.shows).values().filter_map(Weak::upgrade).collect()
    }

    /// Reads and tells what changed, until the shutdown begins.
    pub(crate) async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        while shutdown.sleep(TICK).await {
            let watched = self.watched();
            metrics::gauge!("usher_seats_watched_shows").set(float(watched.len()));
            let due = watched.into_iter().filter(|show| show.is_read.initialized());
            let due = due.filter(|show| !lock(&show.picture).has_ended());
            let renew = async |show: Arc<Show>| self.renew(&show).await;
            stream::iter(due).for_each_concurrent(READS_AT_ONCE, renew).await;
        }
    }

    /// Reads and tells what may have changed. What cannot be read is read at the next tick.
    async fn renew(&self, show: &Show) {
        // Taken first: the lock must not be held while the database is asked.
        let (wanted, began) = (lock(&show.to_read).take(), Instant::now());
        let read = match wanted {
            None => return,
            Some(Wanted::All) => self.read_all(show).await,
            Some(Wanted::Seats(seats)) => self.read_seats(show, &seats).await,
        };
        let mut to_read = lock(&show.to_read);
        let Err(error) = read else {
            to_read.failing_since = None;
            return;
        };
        metrics::counter!("usher_seats_reads_failed_total").increment(1);
        to_read.all = true;
        if to_read.failing_since.get_or_insert(began).elapsed() >= UNREAD_MAX {
            warn!(show = %show.id, "the seats of a show are not told any more: {error}");
            lock(&show.picture).end();
        }
    }

    async fn read_seats(&self, show: &Show, seats: &[SeatLabel]) -> StoreResult<()> {
        metrics::counter!("usher_seats_reads_total", "of" => "seats").increment(1);
        let taken = seat_map::taken_of(&self.pool, show.id, seats).await?;
        lock(&show.picture).change(seats, &taken);
        Ok(())
    }

    async fn read_all(&self, show: &Show) -> StoreResult<()> {
        metrics::counter!("usher_seats_reads_total", "of" => "show").increment(1);
        let taken = seat_map::taken(&self.pool, show.id).await?;
        lock(&show.picture).replace(&taken);
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        metrics::gauge!("usher_live_sockets").decrement(1.0);
    }
}

fn away() -> ApiError {
    let detail = "the database does not answer; connect again";
    ApiError::unavailable(Code::DatabaseUnavailable, detail, RETRY_AFTER_S)
}

fn lock<T>(locked: &Mutex<T>) -> MutexGuard<'_, T> {
    locked.lock().unwrap_or_else(PoisonError::into_inner)
}
