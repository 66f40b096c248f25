//! Measures how long the backends themselves are slow while a test measures times. That time does
//! not count, or a busy machine would look like a fault.

use std::{future::Future, time::Duration};

use nemesis::probe::Probe;
use platform::{Shutdown, clock};
use testing::Slot;

/// Probes the backends all the time, without the test's proxies.
pub(crate) struct Beside {
    probe: Probe,
    stop: Shutdown,
}

impl Beside {
    /// Begins to probe the backends of a slot. Call it before the slot's URLs lead to a proxy.
    pub(crate) fn of(slot: &Slot) -> Self {
        let stop = Shutdown::default();
        let (postgres, redis) = (&slot.database_url, &slot.redis_url);
        let probe = Probe::start(postgres, redis, &[&slot.amqp_url], &stop);
        Self { probe, stop }
    }

    /// Does some work; returns how long it took without the time in which a backend was slow.
    pub(crate) async fn timed<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        let began = clock::now();
        let done = work.await;
        let ended = clock::now();
        let took = (ended - began).to_std().unwrap_or_default();
        (done, took.saturating_sub(self.probe.own(began, ended)))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.begin();
    }
}
