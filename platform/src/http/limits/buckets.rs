//! What is used of a limit, by key, in bounded memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{nanos::Nanos, state::StateStore};

/// Most keys with a bucket of their own, about 3 MB. Beyond it, new keys share buckets. A secret of
/// this process chooses the bucket, so that nobody can choose with whom to share one.
const KEYS_MAX: usize = 65_536;
const SHARED_BUCKETS: usize = 16_384;
/// Parts in which the buckets are kept, each under a lock of its own.
const SHARDS: usize = 16;

/// One bucket for each key. A bucket is the moment, counted from the limiter's start, at which the
/// whole quota is available again. An unused bucket is not kept.
pub(super) struct Buckets<K> {
    keys_max: usize,
    hasher: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
    /// Calls that were counted in a shared bucket and not reported yet.
    shared: AtomicU64,
}

struct Shard<K> {
    own: HashMap<K, u64>,
    /// Empty until needed.
    shared: Vec<u64>,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self::new(KEYS_MAX)
    }
}

impl<K> Buckets<K> {
    pub(super) fn new(keys_max: usize) -> Self {
        let shard = |_| Mutex::new(Shard { own: HashMap::new(), shared: Vec::new() });
        Self {
            keys_max,
            hasher: RandomState::new(),
            shards: std::array::from_fn(shard),
            shared: AtomicU64::new(0),
        }
    }

    /// How many calls were counted in shared buckets since this was asked last.
    pub(super) fn take_shared_count(&self) -> u64 {
        self.shared.swap(0, Ordering::Relaxed)
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Gives back one call that was counted; `period` is the time after which one call is free
    /// again.
    pub(super) fn give_back(&self, key: &K, period: Duration) {
        let period = Nanos::from(period).as_u64();
        let (mut shard, hash) = self.shard(key);
        let shard = &mut *shard;
        let bucket = shard.own.get_mut(key).or_else(|| shard.shared.get_mut(shared_index(hash)));
        if let Some(full_at) = bucket {
            *full_at = full_at.saturating_sub(period);
        }
    }

    /// Forgets the buckets that are full again. Returns how many keys are left.
    pub(super) fn forget_full(&self, now: Duration) -> usize {
        let now = Nanos::from(now).as_u64();
        let shards = self.shards.iter().map(|shard| {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.own.retain(|_, full_at| *full_at > now);
            let keys = shard.own.len();
            if shard.own.capacity() > 4 * keys.max(64) {
                shard.own.shrink_to(2 * keys);
            }
            if shard.shared.iter().all(|full_at| *full_at <= now) {
                shard.shared = Vec::new();
            }
            keys
        });
        shards.sum()
    }

    fn shard(&self, key: &K) -> (MutexGuard<'_, Shard<K>>, u64) {
        let hash = self.hasher.hash_one(key);
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()];
        (shard.lock().unwrap_or_else(PoisonError::into_inner), hash)
    }
}

/// What `governor` needs of [`Buckets`].
pub(super) struct Store<K>(pub(super) Arc<Buckets<K>>);

impl<K: Eq + Hash + Clone> StateStore for Store<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Self(buckets) = self;
        let (mut shard, hash) = buckets.shard(key);
        if let Some(full_at) = shard.own.get_mut(key) {
            let (told, next) = decide(Some((*full_at).into()))?;
            *full_at = next.as_u64();
            return Ok(told);
        }
        if shard.own.len() < buckets.keys_max / SHARDS {
            let (told, next) = decide(None)?;
            shard.own.insert(key.clone(), next.as_u64());
            return Ok(told);
        }
        buckets.shared.fetch_add(1, Ordering::Relaxed);
        shard.shared.resize(SHARED_BUCKETS / SHARDS, 0);
        let full_at = &mut shard.shared[shared_index(hash)];
        let (told, next) = decide(Some((*full_at).into()))?;
        *full_at = next.as_u64();
        Ok(told)
    }
}

fn shared_index(hash: u64) -> usize {
    // The lowest bits chose the shard.
    let buckets = (SHARED_BUCKETS / SHARDS) as u64;
    usize::try_from(hash / SHARDS as u64 % buckets).unwrap_or_default()
}

#[cfg(test)]
impl<K> Buckets<K> {
    pub(super) fn n_own(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().own.len()).sum()
    }

    /// The memory that a flood took is given back.
    pub(super) fn has_let_go(&self) -> bool {
        // A little is kept, as it will be needed again.
        let kept_max = 2 * self.keys_max / SHARDS;
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap())
            .all(|shard| shard.shared.capacity() == 0 && shard.own.capacity() <= kept_max)
    }
}
