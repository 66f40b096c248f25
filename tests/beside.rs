//! What the backends need by themselves while a test measures times: a bound of ours does not count
//! it, or a busy machine would be taken for a fault.

use std::{future::Future, time::Duration};

use nemesis::probe::Probe;
use platform::{Shutdown, clock};
use testing::Slot;

/// Asks the backends all the time, past every proxy of the test.
pub(crate) struct Beside {
    probe: Probe,
    stop: Shutdown,
}

impl Beside {
    /// Begins to ask the backends of a slot. Comes before any proxy stands in front of them.
    pub(crate) fn of(slot: &Slot) -> Self {
        let stop = Shutdown::default();
        let (postgres, redis) = (&slot.database_url, &slot.redis_url);
        let probe = Probe::start(postgres, redis, &[&slot.amqp_url], &stop);
        Self { probe, stop }
    }

    /// Does something, and says how long it took, less the time that was the backends' own.
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
