//! A limit on failures. A try under way counts as failed until it is known to be right, so that no
//! more guesses are under way than may fail. Where the tries under way leave no room, a new try
//! waits for their results: it is refused only for tries that have really failed.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use platform::{
    Shutdown,
    http::{
        ApiError,
        limits::{Limiter, Quota},
    },
};
use tokio::sync::watch;

/// Most tries of one key that wait for room; more are refused.
const WAITING_MAX: usize = 1_000;

pub(super) struct Failures<K: Eq + Hash + Clone> {
    limiter: Arc<Limiter<K>>,
    /// The number of tries under way, for each key that has any. Bounded by the places in the queue
    /// of `Passwords`.
    on_their_way: Mutex<HashMap<K, watch::Sender<usize>>>,
}

/// Why there is no room for a try.
pub(super) enum Full {
    /// Too many tries have failed.
    Failed(ApiError),
    /// Tries are under way, and those that are right leave room.
    Waits(watch::Receiver<usize>),
    /// Tries are under way, and too many others wait for them already.
    Crowded,
}

impl<K: Eq + Hash + Clone + Send + 'static> Failures<K> {
    pub(super) fn start(
        name: &'static str,
        by: &'static str,
        quota: Quota,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let limiter = Limiter::start(name, by, quota, shutdown);
        Arc::new(Self { limiter, on_their_way: Mutex::default() })
    }

    /// Begins a try. Every try must be ended.
    pub(super) fn begin(&self, key: &K) -> Result<(), Full> {
        // The lock is held, so that a try that ends meanwhile is not missed.
        let mut on_their_way = self.on_their_way();
        if let Some(wait) = self.limiter.wait(key) {
            return Err(match on_their_way.get(key) {
                None => Full::Failed(self.limiter.refusal(wait)),
                Some(tries) if tries.receiver_count() >= WAITING_MAX => Full::Crowded,
                Some(tries) => Full::Waits(tries.subscribe()),
            });
        }
        // Waiters are not woken, since a try that begins leaves them no room.
        on_their_way.entry(key.clone()).or_default().send_if_modified(|tries| {
            *tries += 1;
            false
        });
        Ok(())
    }

    /// Ends a try.
    pub(super) fn end(&self, key: &K, has_failed: bool) {
        let mut on_their_way = self.on_their_way();
        if !has_failed {
            self.limiter.give_back(key);
        }
        let Some(tries) = on_their_way.get(key) else { return };
        tries.send_modify(|tries| *tries = tries.saturating_sub(1));
        if *tries.borrow() == 0 {
            // Removing the sender wakes the waiters.
            on_their_way.remove(key);
        }
    }

    fn on_their_way(&self) -> MutexGuard<'_, HashMap<K, watch::Sender<usize>>> {
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
