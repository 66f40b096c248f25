//! How much is allowed, and how much of it is left: the arithmetic, without a clock.

use std::time::Duration;

/// So many calls at once, and one more each time that `every` has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    every: Duration,
    burst: u32,
}

impl Quota {
    /// So many a second, and a second's worth at once. None at all is read as one.
    #[must_use]
    pub fn per_second(calls: u32) -> Self {
        Self::within(Duration::from_secs(1), calls)
    }

    /// So many a minute, and a minute's worth at once.
    #[must_use]
    pub fn per_minute(calls: u32) -> Self {
        Self::within(Duration::from_mins(1), calls)
    }

    /// So many within this time, all of them at once if need be.
    #[must_use]
    pub fn within(time: Duration, calls: u32) -> Self {
        let burst = calls.max(1);
        Self { every: time / burst, burst }
    }

    /// As often, but so many at once.
    #[must_use]
    pub fn at_once(self, burst: u32) -> Self {
        Self { burst: burst.max(1), ..self }
    }

    /// Most calls at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// How long it takes until that many may be made again.
    #[must_use]
    pub fn window(self) -> Duration {
        self.every.saturating_mul(self.burst)
    }
}

/// What one key has used, as the moment at which its whole quota is there again. Moments are times
/// since the limiter began; a bucket that nobody used is full from the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes a call, or says how long there is none.
    pub(super) fn take(&mut self, quota: Quota, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now).saturating_add(quota.every);
        let wait = full_at.saturating_sub(now.saturating_add(quota.window()));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Gives a call that was taken back.
    pub(super) fn give_back(&mut self, quota: Quota) {
        self.full_at = self.full_at.saturating_sub(quota.every);
    }

    /// Whether it says no more than that nobody used it.
    pub(super) fn is_full(self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn no_more_than_the_quota_is_ever_taken(
            calls in 1..50u32, burst in 1..50u32, gaps_ms in vec(0..400u64, 1..200),
        ) {
            let quota = Quota::per_second(calls).at_once(burst);
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (Duration::ZERO, 0u32);
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                match bucket.take(quota, now) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        prop_assert!(bucket.take(quota, now + wait).is_ok(), "the wait is enough");
                        now += wait;
                        taken += 1;
                    }
                }
                let most = f64::from(burst) + f64::from(calls) * now.as_secs_f64();
                prop_assert!(f64::from(taken) <= most + 0.001, "{taken} of {most}");
            }
        }

        #[test]
        fn what_is_given_back_was_never_taken(calls in 1..50u32, rounds in 1..300u32) {
            let quota = Quota::per_minute(calls);
            let mut bucket = Bucket::default();
            for _ in 0..rounds {
                prop_assert!(bucket.take(quota, Duration::from_secs(1)).is_ok());
                bucket.give_back(quota);
            }
            for _ in 0..calls {
                prop_assert!(bucket.take(quota, Duration::from_secs(1)).is_ok());
            }
            prop_assert!(bucket.take(quota, Duration::from_secs(1)).is_err());
        }
    }

    #[test]
    fn a_bucket_is_full_again_after_its_window() {
        let quota = Quota::within(Duration::from_mins(15), 10);
        let mut bucket = Bucket::default();
        assert!((0..10).all(|_| bucket.take(quota, Duration::ZERO).is_ok()));
        assert_eq!(bucket.take(quota, Duration::ZERO), Err(Duration::from_secs(90)));
        assert!(!bucket.is_full(Duration::from_secs(899)));
        assert!(bucket.is_full(Duration::from_mins(15)));
    }
}
