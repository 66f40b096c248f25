//! How often one address or one account may call. Memory is bounded: past a number of keys,
//! newcomers share buckets.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderName, StatusCode, header},
    middleware::Next,
    response::Response,
};
use clap::Args;
use contract::AccountId;
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};
use platform::{
    Shutdown,
    http::{ApiError, ApiResult, ClientAddr},
};

use crate::state::State;

/// Limits of this service.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Sign-ups and logins a minute from one address.
    #[arg(long, env = "USHER_LIMIT_AUTH_PER_MINUTE", default_value = "30")]
    pub auth_per_minute: NonZeroU32,
    /// Reads a second from one address; twice as many at once.
    #[arg(long, env = "USHER_LIMIT_READS_PER_SECOND", default_value = "100")]
    pub reads_per_second: NonZeroU32,
    /// Bookings, holds and orders a second from one account; three times as many at once.
    #[arg(long, env = "USHER_LIMIT_BOOKINGS_PER_SECOND", default_value = "20")]
    pub bookings_per_second: NonZeroU32,
}

/// Every limit of the service.
pub(crate) struct Limits {
    pub(crate) auth: Arc<Limiter<Network>>,
    pub(crate) reads: Arc<Limiter<Network>>,
    pub(crate) bookings: Arc<Limiter<AccountId>>,
}

impl Limits {
    pub(crate) fn start(settings: &LimitSettings, shutdown: &Shutdown) -> Self {
        let LimitSettings { auth_per_minute, reads_per_second, bookings_per_second } = settings;
        let per_second = |rate: &NonZeroU32, times: u32| {
            let burst = NonZeroU32::new(rate.get().saturating_mul(times)).unwrap_or(*rate);
            Quota::per_second(*rate).allow_burst(burst)
        };
        Self {
            auth: Limiter::start("auth", Quota::per_minute(*auth_per_minute), shutdown),
            reads: Limiter::start("reads", per_second(reads_per_second, 2), shutdown),
            bookings: Limiter::start("bookings", per_second(bookings_per_second, 3), shutdown),
        }
    }
}

/// Layer: sign-ups and logins of one address.
pub(crate) async fn auth(
    state: State,
    ClientAddr(address): ClientAddr,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    state.limits.auth.check(Network::of(address))?;
    Ok(next.run(request).await)
}

/// Layer: reads of one address.
pub(crate) async fn reads(
    state: State,
    ClientAddr(address): ClientAddr,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    state.limits.reads.check(Network::of(address))?;
    Ok(next.run(request).await)
}

/// Who counts as one address: an IPv4 address, or a /64 of IPv6, which is one customer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Keys with a bucket of their own; measured once a second, so a flood adds one second's worth.
const KEYS_MAX: usize = 100_000;
/// Buckets that keys share once there are too many.
const SHARED_BUCKETS: u64 = 65_536;
/// How often buckets that have filled up again are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// One bucket of calls per key.
pub(crate) struct Limiter<K: Clone + Eq + Hash> {
    name: &'static str,
    quota: Quota,
    buckets: DefaultKeyedRateLimiter<Bucket<K>>,
    full: AtomicBool,
    hasher: RandomState,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Bucket<K> {
    Own(K),
    Shared(u64),
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Limiter<K> {
    pub(crate) fn start(name: &'static str, quota: Quota, shutdown: &Shutdown) -> Arc<Self> {
        let limiter = Arc::new(Self {
            name,
            quota,
            buckets: DefaultKeyedRateLimiter::keyed(quota),
            full: AtomicBool::new(false),
            hasher: RandomState::new(),
        });
        let (tidied, stop) = (Arc::clone(&limiter), shutdown.clone());
        shutdown.spawn(async move {
            while stop.sleep(TIDY_EVERY).await {
                tidied.tidy(KEYS_MAX);
            }
        });
        limiter
    }

    /// Counts a call: 429 `RATE_LIMITED` where it is one too many.
    pub(crate) fn check(&self, key: K) -> ApiResult<()> {
        let bucket = if self.full.load(Ordering::Relaxed) {
            Bucket::Shared(self.hasher.hash_one(&key) % SHARED_BUCKETS)
        } else {
            Bucket::Own(key)
        };
        let Err(not_until) = self.buckets.check_key(&bucket) else { return Ok(()) };
        metrics::counter!("usher_rate_limited_total", "limit" => self.name).increment(1);
        Err(self.refusal(not_until.wait_time_from(DefaultClock::default().now())))
    }

    fn refusal(&self, wait: Duration) -> ApiError {
        let name = self.name;
        let wait_s = wait.as_secs_f64().ceil().max(1.0);
        let quota = self.quota.burst_size();
        let window = self.quota.replenish_interval() * quota.get();
        let window_s = window.as_secs_f64().ceil().max(1.0);
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RATE_LIMITED",
            format!("too many calls; the next one is answered in {wait_s} s"),
        )
        .header(header::RETRY_AFTER, &wait_s.to_string())
        .header(
            HeaderName::from_static("ratelimit-policy"),
            &format!("\"{name}\";q={quota};w={window_s}"),
        )
        .header(HeaderName::from_static("ratelimit"), &format!("\"{name}\";r=0;t={wait_s}"))
    }

    fn tidy(&self, keys_max: usize) {
        self.buckets.retain_recent();
        let keys = self.buckets.len();
        self.full.store(keys >= keys_max, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        metrics::gauge!("usher_rate_limit_keys", "limit" => self.name).set(keys as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: u32) -> Limiter<u32> {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap());
        Limiter {
            name: "test",
            quota,
            buckets: DefaultKeyedRateLimiter::keyed(quota),
            full: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }

    #[test]
    fn one_too_many_is_refused_and_the_neighbour_is_not() {
        let limiter = limiter(2);
        assert!(limiter.check(1).is_ok() && limiter.check(1).is_ok());
        assert_eq!(limiter.check(1).unwrap_err().code(), "RATE_LIMITED");
        assert!(limiter.check(2).is_ok());
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_the_shared_buckets() {
        let limiter = limiter(1);
        for key in 0..10 {
            limiter.check(key).unwrap();
        }
        limiter.tidy(10);
        for key in 10..300_000 {
            _ = limiter.check(key);
        }
        assert!(limiter.buckets.len() <= 10 + usize::try_from(SHARED_BUCKETS).unwrap());
    }

    #[test]
    fn a_customer_of_ipv6_has_one_bucket_for_all_addresses() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
