//! How many calls are allowed.

use std::{num::NonZeroU32, time::Duration};

/// A number of calls at once, and one more after each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub(super) governor::Quota);

impl Quota {
    /// `calls` per second, all of them at once if need be. 0 counts as 1.
    #[must_use]
    pub fn per_second(calls: u32) -> Self {
        Self(governor::Quota::per_second(at_least_one(calls)))
    }

    /// `calls` per minute, all of them at once if need be.
    #[must_use]
    pub fn per_minute(calls: u32) -> Self {
        Self(governor::Quota::per_minute(at_least_one(calls)))
    }

    /// `calls` within `time`, all of them at once if need be.
    ///
    /// # Panics
    /// If that is more than one call per nanosecond.
    #[must_use]
    pub fn within(time: Duration, calls: u32) -> Self {
        let burst = at_least_one(calls);
        let quota =
            governor::Quota::with_period(time / burst.get()).expect("the period is not zero");
        Self(quota.allow_burst(burst))
    }

    /// The same rate, with `burst` calls at once.
    #[must_use]
    pub fn at_once(self, burst: u32) -> Self {
        Self(self.0.allow_burst(at_least_one(burst)))
    }

    /// Most calls at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.0.burst_size().get()
    }

    /// How long it takes until [`Self::burst`] calls are allowed again.
    #[must_use]
    pub fn window(self) -> Duration {
        self.0.burst_size_replenished_in()
    }

    pub(super) fn period(self) -> Duration {
        self.0.replenish_interval()
    }
}

fn at_least_one(calls: u32) -> NonZeroU32 {
    NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN)
}
