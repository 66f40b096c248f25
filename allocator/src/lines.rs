//! Limits log lines that every partition would write again and again during an outage: one line of
//! each kind is written every few seconds. The metrics count all of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Shortest time between two lines of one kind.
const EVERY: Duration = Duration::from_secs(5);

/// When a line of each kind was last written. Bounded by the kinds there are. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<HashMap<String, Last>>>);

struct Last {
    written_at: Instant,
    unsaid: u64,
}

impl Lines {
    /// Whether a line of this kind may be written, and how many were not since the last one.
    pub(crate) fn may_be_written(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = lines.get_mut(kind)
            && now - last.written_at < EVERY
        {
            last.unsaid += 1;
            return None;
        }
        let last = lines.insert(kind.to_owned(), Last { written_at: now, unsaid: 0 });
        Some(last.map_or(0, |last| last.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_that_three_thousand_partitions_meet_is_told_now_and_then() {
        let (lines, start) = (Lines::default(), Instant::now());
        let mut written = Vec::new();
        for round in 0..100 {
            let now = start + round * Duration::from_millis(200);
            written.extend((0..3_000).filter_map(|_| lines.may_be_written("Wait", now)));
        }
        assert_eq!(written, [0, 74_999, 74_999, 74_999]);
        assert_eq!(lines.may_be_written("session", start), Some(0), "another kind of line");
    }
}
