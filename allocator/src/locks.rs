//! Seat locks, as the allocator that keeps a partition maintains them. No other code writes them,
//! neither payment nor cancellation nor sweep.
//!
//! Redis may lose locks at any time, and a call that failed may have worked. While the locks are
//! not known to be whole, seats are decided without them, and a walk over the partition makes them
//! equal to the claims. Walks also happen now and then in any case. The batch that decides a booking
//! settles its locks; those of bookings that changed later are compared when their events go out.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use contract::{BookingId, SeatLabel, ShowId, deadline::SEAT_LOCK_UNDECIDED, topology::Partition};
use platform::faults::{Guarantee, sometimes, without};
use store::{
    partitions,
    seat_locks::{self, Generation, TriedSeat},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info};

use crate::allocator::{Allocator, Changed};

/// The pause between two walks over a partition is at least this …
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// … and at least this many times the last walk's time, so that a large hall costs no more …
const PAUSE_PER_WALK: u32 = 20;
/// … and, if nothing was lost, this after a recent decision …
const REST: Duration = Duration::from_secs(10);
/// … and this otherwise: then only somebody who edits Redis can have changed a lock.
const REST_IDLE: Duration = Duration::from_mins(10);
/// A partition is busy for this long after a decision.
const BUSY: Duration = Duration::from_mins(2);
/// How often Redis is asked whether it has lost data.
const WITNESS_EVERY: Duration = Duration::from_secs(1);
/// Most walks of one allocator at once: after a flush every partition needs one.
pub(crate) const WALKS_MAX: usize = 2;
/// Longest wait of a new session for whole locks, before it begins to decide.
const WHOLE_WAIT: Duration = Duration::from_millis(500);
/// Most changes that wait to be compared; further ones are left to the next walk.
pub(crate) const CHANGES_MAX: usize = 1024;

/// The locks of one partition.
pub(crate) struct Locks {
    partition: Partition,
    /// The generation under which the locks are whole; `None` while they may not be.
    whole: watch::Sender<Option<Generation>>,
    /// When seats were last locked here.
    touched: Mutex<Instant>,
}

impl Locks {
    /// Locks that are not known to be whole.
    pub(crate) fn new(partition: Partition) -> Self {
        Self { partition, whole: watch::Sender::new(None), touched: Mutex::new(Instant::now()) }
    }

    /// Waits until the locks are whole, for at most [`WHOLE_WAIT`].
    pub(crate) async fn ready(&self) {
        let mut whole = self.whole.subscribe();
        let _ = timeout(WHOLE_WAIT, whole.wait_for(Option::is_some)).await;
    }

    /// Locks seats for bookings, if Redis is there, except seats that are locked for others.
    pub(crate) async fn take(&self, allocator: &Allocator, wanted: &[(SeatLabel, BookingId)]) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let whole = *self.whole.borrow();
        if let Some(generation) = whole {
            let (cache, ttl) = (&allocator.cache, SEAT_LOCK_UNDECIDED);
            match seat_locks::lock(cache, &self.partition, generation, wanted, ttl).await {
                Ok(true) => return,
                Ok(false) => self.lost(generation, "redis lost them"),
                Err(error) => self.lost(generation, &error.to_string()),
            }
        }
        metrics::counter!("usher_decided_without_redis_total").increment(1);
        sometimes("decided without redis");
    }

    /// Ends or prolongs the locks of seats that [`Self::take`] locked for bookings whose batch has
    /// ended. Seats of winners that are not locked for them are compared with their claims.
    pub(crate) async fn settle(&self, allocator: &Allocator, tried: &[TriedSeat]) {
        if tried.is_empty() {
            return;
        }
        let whole = *self.whole.borrow();
        let (cache, show) = (&allocator.cache, self.partition.show);
        let others = if let Some(generation) = whole {
            match seat_locks::settle(cache, show, tried).await {
                Ok(others) => others,
                Err(error) => return self.lost(generation, &error.to_string()),
            }
        } else {
            // A walk may be under way that has passed these seats. Other locks expire by themselves.
            let won = tried.iter().filter(|tried| tried.lasts.is_some());
            won.map(|tried| tried.seat.clone()).collect()
        };
        allocator.compare_locks(show, others);
    }

    fn lost(&self, generation: Generation, why: &str) {
        let was_whole =
            self.whole.send_if_modified(|whole| whole.take_if(|it| *it == generation).is_some());
        if was_whole {
            metrics::counter!("usher_seat_locks_lost_total").increment(1);
            info!(partition = %self.partition, "seat locks are not whole any more: {why}");
        }
    }

    /// Walks over the partition, at once if its locks are not whole, otherwise now and then. Never
    /// returns.
    pub(crate) async fn keep(&self, allocator: &Allocator) {
        let mut whole = self.whole.subscribe();
        let mut redis_lost = allocator.redis_lost.clone();
        redis_lost.mark_unchanged();
        let mut seats = Vec::new();
        let mut walks = 0_u64;
        loop {
            let turn = allocator.walks.acquire().await;
            let began = Instant::now();
            let walked = self.walk(allocator, &mut seats, walks > 0).await;
            drop(turn);
            if let Err(error) = &walked {
                metrics::counter!("usher_seat_locks_failed_total").increment(1);
                debug!(partition = %self.partition, "seat locks stay as they are: {error:#}");
            }
            walks += u64::from(walked.is_ok());
            if walks > 0 && without(Guarantee::Rebuild) {
                return std::future::pending().await;
            }
            sleep(PAUSE_MIN.max(began.elapsed() * PAUSE_PER_WALK)).await;
            self.rest(&mut whole, &mut redis_lost).await;
        }
    }

    /// Waits until the next walk is due or the locks are not whole.
    async fn rest(
        &self,
        whole: &mut watch::Receiver<Option<Generation>>,
        redis_lost: &mut watch::Receiver<u64>,
    ) {
        let touched = *self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = if touched.elapsed() < BUSY { REST } else { REST_IDLE };
        tokio::select! {
            () = sleep(rest) => {}
            () = async { _ = whole.wait_for(Option::is_none).await } => {}
            Ok(()) = redis_lost.changed() => {
                let generation = *self.whole.borrow();
                if let Some(generation) = generation {
                    self.lost(generation, "redis lost data");
                }
            }
        }
    }

    /// Makes every lock equal to the claims, then confirms that the locks are whole.
    async fn walk(
        &self,
        allocator: &Allocator,
        seats: &mut Vec<SeatLabel>,
        again: bool,
    ) -> anyhow::Result<()> {
        let (cache, show) = (&allocator.cache, self.partition.show);
        let whole = *self.whole.borrow();
        let generation = match whole {
            Some(generation) => generation,
            None => seat_locks::begin(cache, &self.partition).await?,
        };
        if seats.is_empty() {
            *seats = partitions::seats_in(&allocator.pool, &self.partition).await?;
        }
        let mended = seat_locks::mirror(&allocator.pool, cache, show, seats).await?;
        metrics::counter!("usher_seat_locks_mended_total").increment(mended);
        if !seat_locks::confirm(cache, &self.partition, generation).await? {
            self.lost(generation, "redis lost them");
        } else if whole.is_none() {
            self.whole.send_replace(Some(generation));
            if again {
                sometimes("generation rebuilt");
                info!(partition = %self.partition, "seat locks are whole again");
            }
        }
        Ok(())
    }
}

/// Asks Redis once a second for a number that must grow, until the shutdown begins. If it does not
/// grow, Redis has lost data or come back with older data, and all locks are compared.
pub(crate) async fn watch_redis(allocator: Allocator, redis_lost: watch::Sender<u64>) {
    let (me, mut last) = (allocator.roster.borrow().me, 0);
    while allocator.shutdown.sleep(WITNESS_EVERY).await {
        // A Redis that does not answer may have lost nothing.
        let Ok(number) = seat_locks::witness(&allocator.cache, me).await else { continue };
        if number <= last {
            info!("redis lost data: all seat locks are compared with the claims");
            redis_lost.send_modify(|times| *times += 1);
        }
        last = number;
    }
}

/// Compares the locks of seats whose bookings changed, until the shutdown begins. A failure here is
/// left to the next walk.
pub(crate) async fn follow(
    allocator: Allocator,
    mut changed: mpsc::Receiver<Changed>,
    redis_lost: watch::Sender<u64>,
) {
    let mut some = Vec::with_capacity(CHANGES_MAX);
    loop {
        tokio::select! {
            () = allocator.shutdown.begun() => return,
            _ = changed.recv_many(&mut some, CHANGES_MAX) => {}
        }
        let mut by_show: HashMap<ShowId, HashSet<SeatLabel>> = HashMap::new();
        for (show, seats) in some.drain(..) {
            by_show.entry(show).or_default().extend(seats);
        }
        for (show, seats) in by_show {
            let seats: Vec<SeatLabel> = seats.into_iter().collect();
            if let Err(error) =
                seat_locks::mirror(&allocator.pool, &allocator.cache, show, &seats).await
            {
                // Left to a walk over every partition, because the partition is not known here.
                redis_lost.send_modify(|times| *times += 1);
                metrics::counter!("usher_seat_locks_failed_total").increment(1);
                debug!(%show, "seat locks stay as they are for now: {error:#}");
            }
        }
    }
}
