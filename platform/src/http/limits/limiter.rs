//! One bucket of calls per key, in bounded memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderName, StatusCode, header};

use super::quota::{Bucket, Quota};
use crate::{
    Shutdown,
    http::{ApiError, retry_after},
};

/// Keys with a bucket of their own, some 3 MB of them. Past it newcomers share buckets, under a
/// secret of this process: nobody can choose whom to share one with.
const KEYS_MAX: usize = 65_536;
const SHARED_BUCKETS: usize = 16_384;
/// Buckets are kept in so many parts, each under a lock of its own.
const SHARDS: usize = 16;
/// How often buckets that are full again are forgotten.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How often whatever the keys stand for may call.
pub struct Limiter<K> {
    name: &'static str,
    /// What the keys are: `account`, `address`, or `stranger`: an address without an account.
    by: &'static str,
    quota: Quota,
    keys_max: usize,
    began: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
}

struct Shard<K> {
    own: HashMap<K, Bucket>,
    /// Empty as long as there is no need of them.
    shared: Vec<Bucket>,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self { own: HashMap::new(), shared: Vec::new() }
    }
}

impl<K: Eq + Hash + Send + 'static> Limiter<K> {
    /// A limiter of this name that tidies up after itself.
    #[must_use]
    pub fn start(
        name: &'static str,
        by: &'static str,
        quota: Quota,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let limiter = Arc::new(Self::new(name, by, quota));
        let (tidied, stop) = (Arc::clone(&limiter), shutdown.clone());
        shutdown.spawn(async move {
            while stop.sleep(TIDY_EVERY).await {
                tidied.tidy();
            }
        });
        limiter
    }

    pub(super) fn new(name: &'static str, by: &'static str, quota: Quota) -> Self {
        Self {
            name,
            by,
            quota,
            keys_max: KEYS_MAX,
            began: Instant::now(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Counts a call: 429 `RATE_LIMITED`, which names this limit, where it is one too many.
    pub fn take(&self, key: K) -> Result<(), ApiError> {
        self.take_at(key, self.began.elapsed()).map_err(|wait| self.refusal(wait))
    }

    /// Makes a call that was counted uncounted.
    pub fn give_back(&self, key: &K) {
        self.with_bucket(key, |bucket| bucket.give_back(self.quota));
    }

    fn take_at(&self, key: K, now: Duration) -> Result<(), Duration> {
        let (mut shard, hash) = self.shard(&key);
        let room = self.keys_max / SHARDS;
        let is_own = shard.own.len() < room || shard.own.contains_key(&key);
        if is_own {
            return shard.own.entry(key).or_default().take(self.quota, now);
        }
        metrics::counter!("usher_rate_limit_shared_total", "limit" => self.name, "by" => self.by)
            .increment(1);
        shard.shared.resize(SHARED_BUCKETS / SHARDS, Bucket::default());
        shard.shared[shared_index(hash)].take(self.quota, now)
    }

    fn with_bucket(&self, key: &K, change: impl FnOnce(&mut Bucket)) {
        let (mut shard, hash) = self.shard(key);
        if let Some(bucket) = shard.own.get_mut(key) {
            change(bucket);
        } else if let Some(bucket) = shard.shared.get_mut(shared_index(hash)) {
            change(bucket);
        }
    }

    fn shard(&self, key: &K) -> (MutexGuard<'_, Shard<K>>, u64) {
        let hash = self.hasher.hash_one(key);
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()];
        (shard.lock().unwrap_or_else(PoisonError::into_inner), hash)
    }

    fn refusal(&self, wait: Duration) -> ApiError {
        metrics::counter!("usher_rate_limited_total", "limit" => self.name, "by" => self.by)
            .increment(1);
        let (name, by) = (self.name, self.by);
        let wait_s = retry_after(wait);
        let quota = self.quota.burst();
        let window_s = self.quota.window().as_secs_f64().ceil().max(1.0);
        let whose = if by == "stranger" { "address without an account" } else { by };
        let detail = format!("too many calls of this {whose}, limit `{name}`; wait {wait_s} s");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail)
            .with("limit", name)
            .with("limitedBy", by)
            .header(header::RETRY_AFTER, &wait_s.to_string())
            .header(
                HeaderName::from_static("ratelimit-policy"),
                &format!("\"{name}\";q={quota};w={window_s}"),
            )
            .header(HeaderName::from_static("ratelimit"), &format!("\"{name}\";r=0;t={wait_s}"))
    }

    /// Forgets the buckets that are full again, and gives their memory back.
    pub(super) fn tidy(&self) {
        let keys = self.forget_full(self.began.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        metrics::gauge!("usher_rate_limit_keys", "limit" => self.name, "by" => self.by)
            .set(keys as f64);
    }

    /// Returns how many keys are left.
    fn forget_full(&self, now: Duration) -> usize {
        let shards = self.shards.iter().map(|shard| {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.own.retain(|_, bucket| !bucket.is_full(now));
            let keys = shard.own.len();
            if shard.own.capacity() > 4 * keys.max(64) {
                shard.own.shrink_to(2 * keys);
            }
            if shard.shared.iter().all(|bucket| bucket.is_full(now)) {
                shard.shared = Vec::new();
            }
            keys
        });
        shards.sum()
    }
}

fn shared_index(hash: u64) -> usize {
    // The lowest bits chose the shard.
    let buckets = (SHARED_BUCKETS / SHARDS) as u64;
    usize::try_from(hash / SHARDS as u64 % buckets).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(per_minute: u32, keys_max: usize) -> Limiter<u32> {
        Limiter { keys_max, ..Limiter::new("test", "account", Quota::per_minute(per_minute)) }
    }

    #[test]
    fn one_too_many_is_refused_by_name_and_the_neighbour_is_not() {
        let limiter = limiter(2, KEYS_MAX);
        assert!(limiter.take(1).is_ok() && limiter.take(1).is_ok());
        let refusal = limiter.take(1).unwrap_err();
        assert_eq!(refusal.code(), "RATE_LIMITED");
        assert!(limiter.take(2).is_ok());
        limiter.give_back(&1);
        assert!(limiter.take(1).is_ok());
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_the_shared_buckets() {
        let limiter = limiter(1, 1_600);
        for key in 0..300_000 {
            _ = limiter.take_at(key, SECOND);
        }
        let sizes = |count: fn(&Shard<u32>) -> usize| -> usize {
            limiter.shards.iter().map(|shard| count(&shard.lock().unwrap())).sum()
        };
        assert_eq!(sizes(|shard| shard.own.len()), 1_600);
        assert_eq!(sizes(|shard| shard.shared.len()), SHARED_BUCKETS);
        // Once it is over, nothing of it is left.
        assert_eq!(limiter.forget_full(SECOND + Duration::from_mins(1)), 0);
        assert_eq!(sizes(|shard| shard.shared.len()), 0);
        assert!(sizes(|shard| shard.own.capacity()) < 1_600);
    }

    #[test]
    fn who_is_in_a_bucket_of_their_own_is_not_moved_by_a_flood() {
        let limiter = limiter(2, 1_600);
        assert!(limiter.take_at(0, SECOND).is_ok());
        for key in 1..100_000 {
            _ = limiter.take_at(key, SECOND);
        }
        assert!(limiter.take_at(0, SECOND).is_ok());
        assert_eq!(limiter.take_at(0, SECOND), Err(Duration::from_secs(30)));
        assert_eq!(limiter.forget_full(SECOND + Duration::from_secs(45)), 1, "it used two");
    }
}
