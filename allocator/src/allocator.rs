//! What every part of the allocator works with.

use std::{collections::HashSet, sync::Arc};

use contract::{SeatLabel, ShowId, booking_id::BookingIds, topology::Partition};
use platform::{
    Shutdown,
    broker::{Broker, Connections, Publisher},
    cache::Cache,
};
use store::Pool;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::{lines::Lines, roster::Roster, waiting::WaitingPartitions};

/// Seats of a show whose locks may have to change.
pub(crate) type Changed = (ShowId, Vec<SeatLabel>);

/// What every part of the allocator works with.
#[derive(Clone)]
pub(crate) struct Allocator {
    pub(crate) pool: Pool,
    /// For what others wait for: the heartbeat, the backlog, and the share-out. Batches do not use
    /// it, so that they cannot take its connections.
    pub(crate) following: Pool,
    /// Bounds the transactions that are tried again at one time.
    pub(crate) retries: Arc<Semaphore>,
    pub(crate) cache: Cache,
    pub(crate) consuming: Connections,
    pub(crate) publishing: Broker,
    pub(crate) publisher: Publisher,
    pub(crate) ids: BookingIds,
    pub(crate) batch_bookings_max: usize,
    /// Wakes the relay when events were committed here.
    pub(crate) events: Arc<Notify>,
    /// Receives seats that bookings got or lost.
    pub(crate) changed: mpsc::Sender<Changed>,
    /// How often Redis was found to have lost data.
    pub(crate) redis_lost: watch::Receiver<u64>,
    /// Bounds the walks over seat locks.
    pub(crate) walks: Arc<Semaphore>,
    /// Bounds the queues that are declared at once.
    pub(crate) declares: Arc<Semaphore>,
    /// Partitions whose last requests found no queue.
    pub(crate) missed: watch::Sender<HashSet<Partition>>,
    /// The live allocators, which share the partitions.
    pub(crate) roster: watch::Receiver<Roster>,
    /// Partitions that wait until the installation is repaired.
    pub(crate) waiting: WaitingPartitions,
    /// Limits log lines that many partitions would write at the same time.
    pub(crate) lines: Lines,
    pub(crate) shutdown: Shutdown,
}

impl Allocator {
    /// Has the locks of these seats compared with their claims, soon.
    pub(crate) fn compare_locks(&self, show: ShowId, seats: Vec<SeatLabel>) {
        if !seats.is_empty() && self.changed.try_send((show, seats)).is_err() {
            metrics::counter!("usher_seat_locks_left_to_a_walk_total").increment(1);
        }
    }
}
