//! How much is allowed.

use std::{num::NonZeroU32, time::Duration};

/// So many calls at once, and one more each time that a period has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub(super) governor::Quota);

impl Quota {
    /// So many a second, and a second's worth at once. None at all is read as one.
    #[must_use]
    pub fn per_second(calls: u32) -> Self {
        Self(governor::Quota::per_second(at_least_one(calls)))
    }

    /// So many a minute, and a minute's worth at once.
    #[must_use]
    pub fn per_minute(calls: u32) -> Self {
        Self(governor::Quota::per_minute(at_least_one(calls)))
    }

    /// So many within this time, all of them at once if need be.
    ///
    /// # Panics
    /// Where that is more than one a nanosecond.
    #[must_use]
    pub fn within(time: Duration, calls: u32) -> Self {
        let burst = at_least_one(calls);
        let quota = governor::Quota::with_period(time / burst.get()).expect("there is a period");
        Self(quota.allow_burst(burst))
    }

    /// As often, but so many at once.
    #[must_use]
    pub fn at_once(self, burst: u32) -> Self {
        Self(self.0.allow_burst(at_least_one(burst)))
    }

    /// Most calls at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.0.burst_size().get()
    }

    /// How long it takes until that many may be made again.
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
