//! Numbers in the type that another place takes, where the language has no conversion for it.

use std::time::Duration;

/// A count, as metrics and calculations take it.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "what is counted here is far below 2^53")]
pub fn float(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

/// A whole number, as Redis has it in a sorted set.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the scripts write whole numbers below 2^53, none of them negative"
)]
pub fn whole(score: f64) -> u64 {
    score as u64
}

/// A time in milliseconds, as Redis takes it.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
