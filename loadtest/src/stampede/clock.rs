//! The time by the visitors' machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by this machine's clock, to compare with a Redis on the same machine.
#[expect(clippy::disallowed_methods, reason = "visitors know nothing of the platform's clock")]
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
