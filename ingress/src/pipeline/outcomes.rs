//! Requests on this node that wait for an outcome. Events from the broker wake them, and only then
//! do they read the database. Where events may have been missed, all waiters are woken and share a
//! few queries.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contract::{BookingId, message::BookingEvent};
use platform::{
    Shutdown,
    broker::{self, Broker},
};
use store::{
    StoreResult,
    bookings::{Look, Looker},
};
use tokio::{sync::Notify, time::Instant};

/// Most bookings waited for at once; further waiters are not woken, and look when their time is
/// over (`usher_waits_unheard_total`).
const WAITED_FOR_MAX: usize = 50_000;

type Waiters = Arc<Mutex<HashMap<BookingId, Arc<Notify>>>>;

/// Waits for outcomes. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Outcomes {
    waiters: Waiters,
}

/// The registration of one waiter; removed when it is dropped.
pub(crate) struct Waiter {
    booking: BookingId,
    woken: Arc<Notify>,
    waiters: Waiters,
}

impl Outcomes {
    /// Registers for an outcome. Call it before the publish, or the event may be missed.
    pub(crate) fn register(&self, booking: BookingId) -> Waiter {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiters.len() < WAITED_FOR_MAX;
        let known = waiters.get(&booking).map(Arc::clone);
        let woken = known.unwrap_or_else(|| {
            let woken = Arc::new(Notify::new());
            if room {
                waiters.insert(booking, Arc::clone(&woken));
            } else {
                metrics::counter!("usher_waits_unheard_total").increment(1);
            }
            woken
        });
        Waiter { booking, woken, waiters: Arc::clone(&self.waiters) }
    }

    /// Listens to events until the shutdown begins.
    pub(crate) async fn listen(self, broker: Broker, shutdown: Shutdown) {
        let heard = |event: BookingEvent| self.wake(event.booking_id);
        broker::hear(broker, shutdown, heard, || self.wake_all()).await;
    }

    fn wake(&self, booking: BookingId) {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(woken) = waiters.get(&booking) {
            woken.notify_waiters();
        }
    }

    fn wake_all(&self) {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.values().for_each(|woken| woken.notify_waiters());
    }
}

impl Waiter {
    /// The booking as it is once it is decided or the time is over.
    pub(crate) async fn outcome(&self, looker: &Looker, at_most: Duration) -> StoreResult<Look> {
        let end = Instant::now() + at_most;
        loop {
            // Listens before it looks, so that no event in between is missed.
            let woken = self.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let look = looker.look(self.booking).await?;
            if look.view.is_some() || Instant::now() >= end {
                return Ok(look);
            }
            // Looks once more when the time is over, since an event may be late or lost.
            let _ = tokio::time::timeout_at(end, woken).await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the map and this waiter are left.
        if Arc::strong_count(&self.woken) <= 2 {
            waiters.remove(&self.booking);
        }
    }
}
