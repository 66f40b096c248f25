//! How often each key may call, in bounded memory. `governor` does the arithmetic; its own stores
//! neither bound the number of keys nor take a call back.

use std::{hash::Hash, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue, header};
use contract::api::problem::Code;
use governor::{
    RateLimiter,
    clock::{Clock, DefaultClock, Reference as _},
    middleware::{NoOpMiddleware, StateInformationMiddleware},
};

use super::{
    buckets::{Buckets, Store},
    quota::Quota,
};
use crate::{
    Shutdown,
    http::{
        ApiError,
        problem::{LIMIT_LEFT, LIMIT_POLICY},
        retry_after,
    },
    number::float,
};

/// How often buckets that are full again are forgotten.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(1);

/// What a call has left of a quota.
#[derive(Debug)]
pub(super) struct Left {
    name: &'static str,
    calls: u32,
    full_again_s: f64,
    policy: HeaderValue,
}

impl Left {
    /// Tells the caller.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Self { name, calls, full_again_s, policy } = self;
        headers.insert(LIMIT_POLICY, policy);
        let left = HeaderValue::try_from(format!("\"{name}\";r={calls};t={full_again_s}"));
        headers.insert(LIMIT_LEFT, left.expect("a name and two numbers"));
    }
}

/// Limits how often each key may call.
pub struct Limiter<K: Eq + Hash + Clone, C: Clock = DefaultClock> {
    name: &'static str,
    /// What the keys are: `account`, `address`, or `stranger`: an address without an account.
    by: &'static str,
    quota: Quota,
    buckets: Arc<Buckets<K>>,
    calls: RateLimiter<K, Store<K>, C, StateInformationMiddleware>,
    policy: HeaderValue,
    clock: C,
    began: C::Instant,
}

impl<K: Eq + Hash + Clone + Send + 'static> Limiter<K> {
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
        Self::with(name, by, quota, Buckets::default(), DefaultClock::default())
    }
}

impl<K: Eq + Hash + Clone, C: Clock + Clone> Limiter<K, C> {
    fn with(
        name: &'static str,
        by: &'static str,
        quota: Quota,
        buckets: Buckets<K>,
        clock: C,
    ) -> Self {
        let buckets = Arc::new(buckets);
        let calls = RateLimiter::<_, _, _, NoOpMiddleware<C::Instant>>::new(
            quota.0,
            Store(Arc::clone(&buckets)),
            clock.clone(),
        );
        let calls = calls.with_middleware();
        let window_s = quota.window().as_secs_f64().ceil().max(1.0);
        let policy = format!("\"{name}\";q={};w={window_s}", quota.burst());
        let policy = HeaderValue::try_from(policy).expect("names of limits are plain");
        Self { name, by, quota, buckets, calls, policy, began: clock.now(), clock }
    }

    /// Counts a call; 429 `RATE_LIMITED`, which names this limit, if it is one too many.
    pub fn take(&self, key: &K) -> Result<(), ApiError> {
        self.count(key).map(drop)
    }

    /// Counts a call like [`Self::take`], and says what is left.
    pub(super) fn count(&self, key: &K) -> Result<Left, ApiError> {
        let taken = self.calls.check_key(key);
        match taken {
            Ok(state) => Ok(self.left(state.remaining_burst_capacity())),
            Err(not_until) => Err(self.refusal(not_until.wait_time_from(self.clock.now()))),
        }
    }

    /// What is left of the quota, and when all of it is there again.
    fn left(&self, calls: u32) -> Left {
        let used = self.quota.burst().saturating_sub(calls);
        let full_again_s = (self.quota.period() * used).as_secs_f64().ceil();
        Left { name: self.name, calls, full_again_s, policy: self.policy.clone() }
    }

    /// Takes a counted call back.
    pub fn give_back(&self, key: &K) {
        self.buckets.give_back(key, self.quota.period());
    }

    /// Counts a call, or returns how long to wait until one is allowed.
    #[must_use]
    pub fn wait(&self, key: &K) -> Option<Duration> {
        let not_until = self.calls.check_key(key).err()?;
        Some(not_until.wait_time_from(self.clock.now()))
    }

    /// The 429 for a call that is one too many, with the time to wait.
    #[must_use]
    pub fn refusal(&self, wait: Duration) -> ApiError {
        metrics::counter!("usher_rate_limited_total", "limit" => self.name, "by" => self.by)
            .increment(1);
        let (name, by) = (self.name, self.by);
        let wait_s = retry_after(wait);
        let whose = if by == "stranger" { "address without an account" } else { by };
        let detail = format!("too many calls of this {whose}, limit `{name}`; wait {wait_s} s");
        ApiError::new(Code::RateLimited, detail)
            .with("limit", name)
            .with("limitedBy", by)
            .header(header::RETRY_AFTER, &wait_s.to_string())
            .header(LIMIT_POLICY, self.policy.to_str().unwrap_or_default())
            .header(LIMIT_LEFT, &format!("\"{name}\";r=0;t={wait_s}"))
    }

    /// Forgets the buckets that are full again, and gives their memory back.
    pub(super) fn tidy(&self) {
        let shared = self.buckets.take_shared_count();
        metrics::counter!("usher_rate_limit_shared_total", "limit" => self.name, "by" => self.by)
            .increment(shared);
        metrics::gauge!("usher_rate_limit_keys", "limit" => self.name, "by" => self.by)
            .set(float(self.forget_full()));
    }

    /// Returns how many keys are left.
    fn forget_full(&self) -> usize {
        let now: Duration = self.clock.now().duration_since(self.began).into();
        self.buckets.forget_full(now)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const KEYS_MAX: usize = 1_600;

    fn limiter(quota: Quota) -> (Limiter<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let buckets = Buckets::new(KEYS_MAX);
        (Limiter::with("test", "account", quota, buckets, clock.clone()), clock)
    }

    #[test]
    fn one_too_many_is_refused_by_name_and_the_neighbour_is_not() {
        let (limiter, _) = limiter(Quota::per_minute(2));
        assert!(limiter.take(&1).is_ok() && limiter.take(&1).is_ok());
        assert_eq!(limiter.take(&1).unwrap_err().code(), Code::RateLimited);
        assert!(limiter.take(&2).is_ok());
        limiter.give_back(&1);
        assert!(limiter.take(&1).is_ok());
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_the_shared_buckets() {
        let (limiter, clock) = limiter(Quota::per_minute(1));
        for key in 0..300_000 {
            _ = limiter.wait(&key);
        }
        assert_eq!(limiter.buckets.n_own(), KEYS_MAX);
        assert!(limiter.buckets.take_shared_count() > 200_000);
        // After the flood its memory is given back.
        clock.advance(Duration::from_mins(1));
        assert_eq!(limiter.forget_full(), 0);
        assert!(limiter.buckets.has_let_go());
    }

    #[test]
    fn who_is_in_a_bucket_of_their_own_is_not_moved_by_a_flood() {
        let (limiter, clock) = limiter(Quota::per_minute(2));
        for key in 0..100_000 {
            _ = limiter.wait(&key);
        }
        assert_eq!(limiter.wait(&0), None);
        assert_eq!(limiter.wait(&0), Some(Duration::from_secs(30)));
        clock.advance(Duration::from_secs(45));
        assert_eq!(limiter.forget_full(), 1, "it used two");
    }

    proptest! {
        #[test]
        fn no_more_than_the_quota_is_ever_taken(
            calls in 1..50u32, burst in 1..50u32, gaps_ms in vec((0..400u64, any::<bool>()), 1..200),
        ) {
            let (limiter, clock) = limiter(Quota::per_second(calls).at_once(burst));
            let (mut now, mut taken) = (Duration::ZERO, 0u32);
            let mut pass = |time: Duration| {
                clock.advance(time);
                now += time;
                now
            };
            for (gap, gives_back) in gaps_ms {
                let mut at = pass(Duration::from_millis(gap));
                if let Some(wait) = limiter.wait(&7) {
                    at = pass(wait);
                    prop_assert_eq!(limiter.wait(&7), None, "the wait is enough");
                }
                if gives_back {
                    limiter.give_back(&7);
                } else {
                    taken += 1;
                }
                let most = f64::from(burst) + f64::from(calls) * at.as_secs_f64();
                prop_assert!(f64::from(taken) <= most + 0.001, "{} of {}", taken, most);
            }
        }

        #[test]
        fn what_is_given_back_was_never_taken(calls in 1..50u32, rounds in 1..300u32) {
            let (limiter, _) = limiter(Quota::per_minute(calls));
            for _ in 0..rounds {
                prop_assert_eq!(limiter.wait(&7), None);
                limiter.give_back(&7);
            }
            for _ in 0..calls {
                prop_assert_eq!(limiter.wait(&7), None);
            }
            prop_assert!(limiter.wait(&7).is_some());
        }
    }
}
