//! How often one address and one account may ask for a place.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
};

use axum::http::{HeaderName, StatusCode, header};
use contract::AccountId;
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use platform::http::{ApiError, retry_after};

use crate::{LineError, places::Proof};

/// Keys are hashed into so many buckets, under a secret of this process: memory is bounded, and
/// nobody can choose whom to share a bucket with.
const BUCKETS: u64 = 65_536;
/// An account may ask so often, with a burst of ten.
const ACCOUNT_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
const ACCOUNT_BURST: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// An address may burst to so many seconds' worth.
const ADDRESS_BURST_SECONDS: u32 = 5;

/// An account that shows place tickets may look after them so often, over all its devices: far more
/// than clients need that ask when they are told to.
const LOOKS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
const LOOKS_BURST: NonZeroU32 = NonZeroU32::new(500).expect("not zero");
/// One that asks for places by their id alone, so often.
const GUESSES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
const GUESSES_BURST: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// Asked for places that this node cannot know, by accounts that prove none, it asks the database
/// so often in all.
const QUESTIONS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// The limits on joining and asking, of this node.
pub(crate) struct Limits {
    hasher: RandomState,
    addresses: DefaultKeyedRateLimiter<u64>,
    accounts: DefaultKeyedRateLimiter<u64>,
    looks: DefaultKeyedRateLimiter<u64>,
    guesses: DefaultKeyedRateLimiter<u64>,
    questions: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Limits {
    /// Limits with so many joins per second and address.
    pub(crate) fn new(joins_per_second: NonZeroU32) -> Self {
        let burst = joins_per_second.saturating_mul(
            NonZeroU32::new(ADDRESS_BURST_SECONDS).expect("the burst is longer than nothing"),
        );
        let address = Quota::per_second(joins_per_second).allow_burst(burst);
        let guess = Quota::per_second(GUESSES_PER_SECOND).allow_burst(GUESSES_BURST);
        let look = Quota::per_second(LOOKS_PER_SECOND).allow_burst(LOOKS_BURST);
        let account = Quota::per_second(ACCOUNT_PER_SECOND).allow_burst(ACCOUNT_BURST);
        Self {
            hasher: RandomState::new(),
            addresses: RateLimiter::keyed(address),
            accounts: RateLimiter::keyed(account),
            looks: RateLimiter::keyed(look),
            guesses: RateLimiter::keyed(guess),
            questions: RateLimiter::direct(Quota::per_second(QUESTIONS_PER_SECOND)),
            clock: DefaultClock::default(),
        }
    }

    /// Whether this account may ask for a place from this address now; 429 where not.
    pub(crate) fn check(&self, address: IpAddr, account: AccountId) -> Result<(), ApiError> {
        self.one(&self.accounts, "account", account)?;
        self.one(&self.addresses, "address", network(address))
    }

    /// Whether somebody may ask about a place now; 429 where not.
    pub(crate) fn look(&self, proof: &Proof) -> Result<(), ApiError> {
        let limiter = match proof {
            Proof::Ticket(_) => &self.looks,
            Proof::Account(_) => &self.guesses,
        };
        self.one(limiter, "account", proof.account())
    }

    /// Whether the database may be asked on behalf of somebody who proves no place.
    pub(crate) fn question(&self) -> Result<(), LineError> {
        self.questions.check().map_err(|_| {
            metrics::counter!("usher_line_questions_refused_total").increment(1);
            LineError::TooManyAsk
        })
    }

    fn one(
        &self,
        limiter: &DefaultKeyedRateLimiter<u64>,
        of: &'static str,
        key: impl Hash,
    ) -> Result<(), ApiError> {
        let bucket = self.hasher.hash_one(key) % BUCKETS;
        let Err(refused) = limiter.check_key(&bucket) else { return Ok(()) };
        metrics::counter!("usher_line_join_limited_total", "by" => of).increment(1);
        let wait = refused.wait_time_from(self.clock.now());
        let seconds = retry_after(wait);
        let quota = refused.quota();
        let window = quota.burst_size_replenished_in().as_secs().max(1);
        Err(ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RATE_LIMITED",
            format!("too many requests for a place from this {of}; wait {seconds} s"),
        )
        .header(header::RETRY_AFTER, &seconds.to_string())
        .header(
            HeaderName::from_static("ratelimit-policy"),
            &format!("\"{of}\";q={};w={window}", quota.burst_size()),
        )
        .header(HeaderName::from_static("ratelimit"), &format!("\"{of}\";r=0;t={seconds}")))
    }
}

/// One household: an IPv4 address, or the /64 of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }

    #[test]
    fn an_account_that_hammers_is_refused_and_others_are_not() {
        let limits = Limits::new(NonZeroU32::new(1000).unwrap());
        let address = "10.0.0.1".parse().unwrap();
        let account = AccountId::new();
        let refused = (0..20).filter(|_| limits.check(address, account).is_err()).count();
        assert!((9..=10).contains(&refused), "{refused}");
        assert!(limits.check(address, AccountId::new()).is_ok());
    }
}
