//! The conditions for every booking of a partition.

use std::time::Duration;

use contract::booking::Kind;

/// The conditions for every booking of a partition.
#[derive(Clone, Debug)]
pub struct Terms {
    pub tier_name: String,
    pub price: i64,
    pub currency: String,
    pub general_admission: bool,
    pub max_seats_per_user: i32,
    pub hold_seconds: i32,
    pub order_seconds: i32,
}

impl Terms {
    /// How long a booking keeps its seats after it was allocated as this kind, or after an order
    /// was made of it.
    #[must_use]
    pub fn lasts(&self, kind: Kind) -> Duration {
        let seconds = match kind {
            Kind::Hold => self.hold_seconds,
            Kind::Order => self.order_seconds,
        };
        Duration::from_secs(u64::from(seconds.unsigned_abs()))
    }

    /// Longest time for which one booking can keep its seats without payment, in seconds.
    #[must_use]
    pub fn unpaid_seconds_max(&self) -> i64 {
        i64::from(self.hold_seconds) + i64::from(self.order_seconds)
    }
}
