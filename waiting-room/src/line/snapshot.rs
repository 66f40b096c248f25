//! A line as loaded from Redis; the stream of changes continues it.

use std::time::Duration;

use super::index::Index;
use crate::scripts::progress::Progress;

/// A line as it stood after one change.
pub(crate) struct Snapshot {
    pub(crate) seen: Progress,
    pub(crate) last_id: String,
    pub(crate) index: Index,
    /// How long visitors may still come back after a loss.
    pub(crate) settles_in: Option<Duration>,
    /// How long admission still waits for returning visitors.
    pub(crate) held_for: Option<Duration>,
    /// How long a pass from before the loss may still be valid.
    pub(crate) lost_passes_for: Option<Duration>,
}
