//! Who is waiting for which outcome on this node. Events from the broker wake them; nobody looks
//! before that, but where events may have been missed: then all look at once, in a few queries.

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

/// Most bookings waited for at once; further waiters look when their time is over
/// (`usher_waits_unheard_total`).
const WAITED_FOR_MAX: usize = 50_000;

type Waiters = Arc<Mutex<HashMap<BookingId, Arc<Notify>>>>;

/// Waits for outcomes. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Outcomes {
    waiters: Waiters,
}

/// A place among those who are woken; gives itself up when dropped.
pub(crate) struct Waiter {
    booking: BookingId,
    woken: Arc<Notify>,
    waiters: Waiters,
}

impl Outcomes {
    /// Registers for an outcome. Do it before the publish, or the event may pass unheard.
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

    /// Hears events until the shutdown begins.
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
    /// The booking as it stands, as soon as it is decided or the time is over.
    pub(crate) async fn outcome(&self, looker: &Looker, at_most: Duration) -> StoreResult<Look> {
        let end = Instant::now() + at_most;
        loop {
            // Listen first, look second: an event between the two is not missed.
            let woken = self.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let look = looker.look(self.booking).await?;
            if look.view.is_some() || Instant::now() >= end {
                return Ok(look);
            }
            // When the time is over it looks once more: an event may be late, or lost.
            let _ = tokio::time::timeout_at(end, woken).await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own and this one: nobody else waits.
        if Arc::strong_count(&self.woken) <= 2 {
            waiters.remove(&self.booking);
        }
    }
}
