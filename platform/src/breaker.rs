//! A circuit breaker: while a dependency does not answer, calls fail at once instead of waiting for
//! their timeout.
//!
//! [`circuit`] decides when the breaker opens and closes; this file adds the clock, the jitter, the
//! metrics and the log. A breaker refuses calls and never judges them: a call that was sent and not
//! answered stays *unknown*.
//!
//! `usher_breaker_open{dependency}` counts this process's breakers that are not closed; a breaker
//! that is not used keeps its state.

mod circuit;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contract::keys;
use thiserror::Error;
use tokio::time::Instant;
use tracing::{info, warn};

use circuit::{Change, Circuit};

/// An open breaker refuses every call for a random time between this and twice this, so that the
/// nodes do not all call again at the same moment.
pub const PAUSE: Duration = Duration::from_millis(500);

/// What a breaker guards, and when it opens.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `postgres`, `redis` or `rabbitmq`.
    pub dependency: &'static str,
    /// Unanswered calls that open it.
    pub failures_max: u32,
    /// Longest wait of a call for its answer. A half-open breaker lets one call out in this time.
    pub call_wait: Duration,
}

/// A call was not made, because the ones before it were not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} does not answer; it is tried again in a moment")]
pub struct Away(&'static str);

/// The breaker of one dependency, as one part of a process sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: Rules,
    circuit: Mutex<Circuit>,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        gauge(rules.dependency).increment(0.0);
        Self(Arc::new(Shared { rules, circuit: Mutex::default() }))
    }

    /// Asks to make a call. Returns the call's begin, for [`Self::failed`].
    pub fn enter(&self) -> Result<Instant, Away> {
        let now = Instant::now();
        if self.circuit().enter(now, self.0.rules.call_wait) { Ok(now) } else { Err(self.refuse()) }
    }

    /// Fails unless the breaker is closed. Ask before waiting for something else that a call needs.
    pub fn ask(&self) -> Result<(), Away> {
        if self.is_closed() { Ok(()) } else { Err(self.refuse()) }
    }

    fn refuse(&self) -> Away {
        let dependency = self.0.rules.dependency;
        metrics::counter!("usher_breaker_refused_total", "dependency" => dependency).increment(1);
        Away(dependency)
    }

    /// The dependency answered; what it said does not matter.
    pub fn answered(&self) {
        let change = self.circuit().answered(Instant::now());
        self.tell(change);
    }

    /// A call that began at `began` was not answered. Returns whether the breaker is open now, in
    /// which case the caller should give its connection up.
    pub fn failed(&self, began: Instant) -> bool {
        let (now, pause) = (Instant::now(), pause());
        let change = self.circuit().failed(began, now, self.0.rules.failures_max, pause);
        self.tell(change);
        !self.is_closed()
    }

    /// The dependency is certainly away, for example because it refuses connections. The caller
    /// should give its connection up.
    pub fn lost(&self) {
        let change = self.circuit().open(Instant::now() + pause());
        self.tell(change);
    }

    /// Whether the breaker lets every call out.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.circuit().is_closed()
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.0.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Option<Change>) {
        let dependency = self.0.rules.dependency;
        match change {
            Some(Change::Opened) => {
                warn!(dependency, "{dependency} does not answer: calls fail at once until it does");
                metrics::counter!("usher_breaker_opened_total", "dependency" => dependency)
                    .increment(1);
                gauge(dependency).increment(1.0);
            }
            Some(Change::Closed) => {
                info!(dependency, "{dependency} answers again");
                gauge(dependency).decrement(1.0);
            }
            None => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.circuit.get_mut().unwrap_or_else(PoisonError::into_inner).is_closed() {
            gauge(self.rules.dependency).decrement(1.0);
        }
    }
}

fn gauge(dependency: &'static str) -> metrics::Gauge {
    metrics::gauge!("usher_breaker_open", "dependency" => dependency)
}

fn pause() -> Duration {
    PAUSE + PAUSE * u32::from(keys::random::<1>()[0]) / u32::from(u8::MAX)
}
