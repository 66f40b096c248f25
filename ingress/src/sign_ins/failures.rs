//! Failures, limited. A try on its way counts as failed until it is known to be none, so that no more
//! guesses are on their way than may fail; where that leaves no room, it is waited for what comes of
//! them. Nobody is said to have failed too often because others have not failed yet.

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

/// Those who wait for the tries of one key; more are sent away.
const WAITING_MAX: usize = 1_000;

pub(super) struct Failures<K: Eq + Hash + Clone> {
    limiter: Arc<Limiter<K>>,
    /// How many tries are on their way, of keys that have any; each has a place among those who wait
    /// for their turn to be hashed, or is about to ask for one.
    on_their_way: Mutex<HashMap<K, watch::Sender<usize>>>,
}

/// There is no room for a try.
pub(super) enum Full {
    /// As many have failed as may.
    Failed(ApiError),
    /// Some are on their way, and room comes of those that were right.
    Waits(watch::Receiver<usize>),
    /// So it is, and too many wait for that.
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

    /// Begins a try, which is to be ended.
    pub(super) fn begin(&self, key: &K) -> Result<(), Full> {
        // Counted under the lock: a try that ends meanwhile is not missed.
        let mut on_their_way = self.on_their_way();
        if let Some(wait) = self.limiter.wait(key) {
            return Err(match on_their_way.get(key) {
                None => Full::Failed(self.limiter.refusal(wait)),
                Some(tries) if tries.receiver_count() >= WAITING_MAX => Full::Crowded,
                Some(tries) => Full::Waits(tries.subscribe()),
            });
        }
        // Nobody waits for one that begins.
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
            // Those who wait are told by that.
            on_their_way.remove(key);
        }
    }

    fn on_their_way(&self) -> MutexGuard<'_, HashMap<K, watch::Sender<usize>>> {
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
