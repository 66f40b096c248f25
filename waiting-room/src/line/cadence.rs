//! How often a visitor hears of the line: more often near the front.

use std::{sync::LazyLock, time::Duration};

use platform::number::millis;
use tokio::time::Instant;

/// Visitors at the front, who get two frames a second so that no number is older than a second.
const FRONT: u64 = 1_000;
/// Visitors ahead from which on the slowest cadence holds.
const BACK: u64 = 20_000;
const FASTEST_MS: u64 = 500;
const SLOWEST_MS: u64 = 7_500;
const GRID_MS: u64 = 50;
const SLOWEST_POLL_S: u64 = 9;
/// The time between two frames where there is no number to show.
pub(crate) const IDLE: Duration = Duration::from_millis(SLOWEST_MS);

/// The time between two frames on a socket.
pub(crate) fn between_frames(ahead: u64) -> Duration {
    let behind_front = ahead.saturating_sub(FRONT).min(BACK - FRONT);
    let slower = (SLOWEST_MS - FASTEST_MS) * behind_front / (BACK - FRONT);
    Duration::from_millis(FASTEST_MS + slower)
}

/// The moment of the next frame, due after `wait`. Frames fall on a grid of twenty moments a second
/// that all watchers share, so that the process wakes once for many.
pub(crate) fn frame_at(now: Instant, wait: Duration) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = now.saturating_duration_since(*START) + wait;
    let late = millis(since) % GRID_MS;
    now + wait.saturating_sub(Duration::from_millis(late)).max(Duration::from_millis(GRID_MS))
}

/// The time between two polls: far shorter than the silence after which a visitor is absent.
pub(crate) fn between_polls(ahead: u64) -> Duration {
    Duration::from_secs((between_frames(ahead).as_secs().max(1) * 2 - 1).min(SLOWEST_POLL_S))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_front_hears_twice_a_second_and_nobody_waits_eight(ahead: u64, more: u64) {
            let wait = between_frames(ahead);
            prop_assert!(wait >= Duration::from_millis(500) && wait < Duration::from_secs(8));
            prop_assert!(between_frames(ahead.saturating_add(more)) >= wait);
            prop_assert!(between_polls(ahead) <= crate::config::ABSENT_AFTER / 2);
        }
    }

    #[test]
    fn the_first_thousand_are_the_front() {
        assert_eq!(between_frames(999), Duration::from_millis(500));
        assert_eq!(between_frames(u64::MAX), IDLE);
        assert_eq!(between_polls(0), Duration::from_secs(1));
    }
}
