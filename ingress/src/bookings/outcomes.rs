//! Who is waiting for which outcome on this node. Events from the broker wake them; a look at the
//! database every now and then covers for events that are lost or late.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contract::{BookingId, message::BookingEvent};
use platform::{
    Shutdown,
    broker::{self, Broker, Consumption, Delivery},
};
use store::{
    PgPool, StoreResult,
    bookings::{self, Seen},
};
use tokio::{sync::Notify, time::Instant};

/// How often a waiter looks without having been woken.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Most bookings waited for at once; further waiters only look.
const WAITED_FOR_MAX: usize = 50_000;
const PREFETCH: u16 = 500;

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
            }
            woken
        });
        Waiter { booking, woken, waiters: Arc::clone(&self.waiters) }
    }

    /// Hears events until the shutdown begins.
    pub(crate) async fn listen(self, broker: Broker, shutdown: Shutdown) {
        let prepare = |channel| async move {
            broker::declare_base(&channel).await?;
            Ok(broker::declare_live_queue(&channel).await?)
        };
        let each = |delivery: Delivery| {
            if let Ok(event) = serde_json::from_slice::<BookingEvent>(&delivery.data) {
                self.wake(event.booking_id);
            }
            std::future::ready(Consumption::Ack)
        };
        broker.consume(PREFETCH, shutdown, prepare, each).await;
    }

    fn wake(&self, booking: BookingId) {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(woken) = waiters.get(&booking) {
            woken.notify_waiters();
        }
    }
}

impl Waiter {
    /// The decided booking, as soon as there is one; `None` when the time is over.
    pub(crate) async fn outcome(
        &self,
        pool: &PgPool,
        at_most: Duration,
    ) -> StoreResult<Option<Seen>> {
        let end = Instant::now() + at_most;
        loop {
            // Listen first, look second: an event between the two is not missed.
            let woken = self.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(seen) = bookings::seen(pool, self.booking).await? {
                return Ok(Some(seen));
            }
            let now = Instant::now();
            if now >= end {
                return Ok(None);
            }
            let _ = tokio::time::timeout(LOOK_EVERY.min(end - now), woken).await;
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
