//! How often somebody hears of the line: the nearer the front, the oftener.

use std::time::Duration;

/// So many at the front hear about every second.
const FRONT: u64 = 1_000;
/// So far back and beyond, the slowest cadence holds.
const BACK: u64 = 20_000;
const FASTEST_MS: u64 = 1_000;
const SLOWEST_MS: u64 = 5_000;
/// A socket that has nothing to count down to.
pub(crate) const IDLE: Duration = Duration::from_millis(SLOWEST_MS);

/// The time between two frames on a socket.
pub(crate) fn between_frames(ahead: u64) -> Duration {
    let behind_front = ahead.saturating_sub(FRONT).min(BACK - FRONT);
    let slower = (SLOWEST_MS - FASTEST_MS) * behind_front / (BACK - FRONT);
    Duration::from_millis(FASTEST_MS + slower)
}

/// When somebody who polls should ask again. Far below the silence after which a visitor counts
/// as absent.
pub(crate) fn between_polls(ahead: u64) -> Duration {
    Duration::from_secs(between_frames(ahead).as_secs().max(1) * 2 - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_front_hears_each_second_and_nobody_less_than_every_five(ahead: u64, more: u64) {
            let wait = between_frames(ahead);
            prop_assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(5));
            prop_assert!(between_frames(ahead.saturating_add(more)) >= wait);
            prop_assert!(between_polls(ahead) <= crate::ABSENT_AFTER / 2);
        }
    }

    #[test]
    fn the_first_thousand_are_the_front() {
        assert_eq!(between_frames(999), Duration::from_secs(1));
        assert_eq!(between_frames(u64::MAX), IDLE);
        assert_eq!(between_polls(0), Duration::from_secs(1));
    }
}
