//! The node's own clock, in one place. For passes and tokens only; holds, orders and deadlines
//! live on Postgres's clock, the line on Redis's.

use std::time::SystemTime;

use chrono::{DateTime, Utc};

/// The present, by this node's clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the node's clock")]
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}
