//! The picture of a line as Redis has it, for the stream of changes to continue.

use std::time::Duration;

use super::index::Index;
use crate::scripts::progress::Progress;

/// A line as it stood after one change.
pub(crate) struct Snapshot {
    pub seen: Progress,
    pub last_id: String,
    pub index: Index,
    /// How long visitors will still be coming back after a loss.
    pub settles_in: Option<Duration>,
    /// How long admission waits still for them.
    pub held_for: Option<Duration>,
    /// How long a pass of before the loss may still be taken.
    pub lost_passes_for: Option<Duration>,
}
