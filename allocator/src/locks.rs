//! Seat locks, as the holder of a partition keeps them. Nobody else writes them: not who pays,
//! cancels or sweeps.
//!
//! Redis may lose locks at any time, and a call that failed may have worked. While the locks are
//! not known to be whole, seats are decided without them, and a walk over the partition makes them
//! what the claims say. Such a walk also comes by now and then, whatever happened; and seats whose
//! bookings changed are looked at as the events go out.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use contract::{BookingId, SeatLabel, ShowId, deadline::SEAT_LOCK_UNDECIDED, topology::Partition};
use platform::faults::{Guarantee, sometimes, without};
use store::{
    partitions,
    seat_locks::{self, Generation},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info};

use crate::office::{Changed, Office};

/// Between two walks over a partition passes at least this …
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// … and this many times as long as the last one took, so that a large hall costs no more …
const PAUSE_PER_WALK: u32 = 20;
/// … and this, too, where nothing was lost but something was decided of late …
const REST: Duration = Duration::from_secs(10);
/// … or not: then nothing but a hand in Redis can have changed a lock.
const REST_IDLE: Duration = Duration::from_mins(10);
/// A partition is busy for this long after a decision.
const BUSY: Duration = Duration::from_mins(2);
/// How often Redis is asked whether it has forgotten anything.
const WITNESS_EVERY: Duration = Duration::from_secs(1);
/// Walks of one allocator at once: after a flush every partition wants one.
pub(crate) const WALKS_MAX: usize = 2;
/// A new holder waits so long for its locks before it begins to decide.
const WHOLE_WAIT: Duration = Duration::from_millis(500);
/// Changes that wait to be looked at; past it they are left to the next walk.
pub(crate) const CHANGES_MAX: usize = 1024;

/// The locks of one partition.
pub(crate) struct Locks {
    partition: Partition,
    /// Under which the locks are whole; `None` while they may not be.
    whole: watch::Sender<Option<Generation>>,
    /// When seats were last locked or given back here.
    touched: Mutex<Instant>,
}

impl Locks {
    /// Nothing is known of them yet.
    pub(crate) fn new(partition: Partition) -> Self {
        Self { partition, whole: watch::Sender::new(None), touched: Mutex::new(Instant::now()) }
    }

    /// Waits until they are whole, for a moment.
    pub(crate) async fn ready(&self) {
        let mut whole = self.whole.subscribe();
        let _ = timeout(WHOLE_WAIT, whole.wait_for(Option::is_some)).await;
    }

    /// Locks seats for bookings as far as Redis is there, and they are not locked for another.
    pub(crate) async fn take(&self, office: &Office, wanted: &[(SeatLabel, BookingId)]) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let whole = *self.whole.borrow();
        if let Some(generation) = whole {
            let (cache, ttl) = (&office.cache, SEAT_LOCK_UNDECIDED);
            match seat_locks::lock(cache, &self.partition, generation, wanted, ttl).await {
                Ok(true) => return,
                Ok(false) => self.lost(generation, "redis forgot them"),
                Err(error) => self.lost(generation, &error.to_string()),
            }
        }
        metrics::counter!("usher_decided_without_redis_total").increment(1);
        sometimes("decided without redis");
    }

    /// Gives back what [`Self::take`] locked for nothing.
    pub(crate) async fn give_back(&self, office: &Office, locked: &[(SeatLabel, BookingId)]) {
        let whole = *self.whole.borrow();
        // Where nothing was locked, or Redis is away: locks of the undecided end by themselves.
        let Some(generation) = whole.filter(|_| !locked.is_empty()) else { return };
        let freed = seat_locks::release(&office.cache, self.partition.show, locked).await;
        if let Err(error) = freed {
            self.lost(generation, &error.to_string());
        }
    }

    fn lost(&self, generation: Generation, why: &str) {
        let was_whole =
            self.whole.send_if_modified(|whole| whole.take_if(|it| *it == generation).is_some());
        if was_whole {
            metrics::counter!("usher_seat_locks_lost_total").increment(1);
            info!(partition = %self.partition, "seat locks are not whole any more: {why}");
        }
    }

    /// Walks over the partition, at once where its locks are not whole, else now and then. Never
    /// returns.
    pub(crate) async fn keep(&self, office: &Office) {
        let mut whole = self.whole.subscribe();
        let mut redis_lost = office.redis_lost.clone();
        redis_lost.mark_unchanged();
        let mut seats = Vec::new();
        let mut walks = 0_u64;
        loop {
            let turn = office.walks.acquire().await;
            let began = Instant::now();
            let walked = self.walk(office, &mut seats, walks > 0).await;
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

    /// Waits for the next walk's time, or until the locks are not whole.
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
                    self.lost(generation, "redis lost something");
                }
            }
        }
    }

    /// Makes every lock what the claims say, then says that they are whole.
    async fn walk(
        &self,
        office: &Office,
        seats: &mut Vec<SeatLabel>,
        again: bool,
    ) -> anyhow::Result<()> {
        let (cache, show) = (&office.cache, self.partition.show);
        let whole = *self.whole.borrow();
        let generation = match whole {
            Some(generation) => generation,
            None => seat_locks::begin(cache, &self.partition).await?,
        };
        if seats.is_empty() {
            *seats = partitions::seats_in(&office.pool, &self.partition).await?;
        }
        let mended = seat_locks::mirror(&office.pool, cache, show, seats).await?;
        metrics::counter!("usher_seat_locks_mended_total").increment(mended);
        if !seat_locks::confirm(cache, &self.partition, generation).await? {
            self.lost(generation, "redis forgot them");
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

/// Asks Redis once a second whether it still knows what it knew, until the shutdown begins: a number
/// that does not grow was lost, or is that of an older state. Then all locks are looked at.
pub(crate) async fn watch_redis(office: Office, redis_lost: watch::Sender<u64>) {
    let (me, mut last) = (office.roster.borrow().me, 0);
    while office.shutdown.sleep(WITNESS_EVERY).await {
        // Redis that does not answer says nothing of what it knows.
        let Ok(number) = seat_locks::witness(&office.cache, me).await else { continue };
        if number <= last {
            info!("redis lost something: all seat locks are looked at");
            redis_lost.send_modify(|times| *times += 1);
        }
        last = number;
    }
}

/// Looks at the locks of seats whose bookings changed, until the shutdown begins. What fails here
/// is left to the next walk.
pub(crate) async fn follow(
    office: Office,
    mut changed: mpsc::Receiver<Changed>,
    redis_lost: watch::Sender<u64>,
) {
    let mut some = Vec::with_capacity(CHANGES_MAX);
    loop {
        tokio::select! {
            () = office.shutdown.begun() => return,
            _ = changed.recv_many(&mut some, CHANGES_MAX) => {}
        }
        let mut by_show: HashMap<ShowId, HashSet<SeatLabel>> = HashMap::new();
        for (show, seats) in some.drain(..) {
            by_show.entry(show).or_default().extend(seats);
        }
        for (show, seats) in by_show {
            let seats: Vec<SeatLabel> = seats.into_iter().collect();
            if let Err(error) = seat_locks::mirror(&office.pool, &office.cache, show, &seats).await
            {
                // Left to a walk, and of which partition is not known here.
                redis_lost.send_modify(|times| *times += 1);
                metrics::counter!("usher_seat_locks_failed_total").increment(1);
                debug!(%show, "seat locks stay as they are for now: {error:#}");
            }
        }
    }
}
