//! When a client should come back: `Retry-After`, made in one place. It is never early, and it
//! differs between clients, so that clients that were refused at the same moment do not all come
//! back at the same moment.

use std::time::Duration;

/// The spread is a quarter of the wait, within these bounds. A client that waits for an opening
/// must not be told to miss it by minutes.
const SPREAD_MIN_S: u64 = 2;
const SPREAD_MAX_S: u64 = 10;

/// Whole seconds after which a client may come back: at least `wait`, different for each client.
#[must_use]
pub fn retry_after(wait: Duration) -> u64 {
    spread(wait, fastrand::u64(..))
}

/// When a client that was sent away connects again, from the earliest to the latest.
const RECONNECT_MS: std::ops::Range<u64> = 200..6_200;

/// How long a client waits before it connects again after this node ended its connection. It
/// differs between clients, because thousands may be sent away at the same moment.
#[must_use]
pub fn reconnect_after() -> Duration {
    Duration::from_millis(fastrand::u64(RECONNECT_MS))
}

fn spread(wait: Duration, random: u64) -> u64 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    let least = wait.as_secs().saturating_add(begun).max(1);
    let most = (least / 4).clamp(SPREAD_MIN_S, SPREAD_MAX_S);
    least.saturating_add(random % (most + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hint_is_never_early_and_late_by_ten_seconds_at_most(
            millis in 0..100_000_000u64, random: u64,
        ) {
            let wait = Duration::from_millis(millis);
            let told = Duration::from_secs(spread(wait, random));
            prop_assert!(told >= wait);
            prop_assert!(told >= Duration::from_secs(1));
            let most = wait + Duration::from_secs(1 + SPREAD_MAX_S);
            prop_assert!(told <= most, "{told:?}");
        }

        #[test]
        fn clients_that_are_refused_together_come_back_apart(millis in 0..100_000_000u64) {
            let wait = Duration::from_millis(millis);
            let told: Vec<u64> = (0..1_000).map(|_| retry_after(wait)).collect();
            let seconds: HashSet<u64> = told.iter().copied().collect();
            prop_assert!(seconds.len() >= 3);
            for second in seconds {
                let together = told.iter().filter(|told| **told == second).count();
                prop_assert!(together < 450, "{together} of 1,000 in second {second}");
            }
        }
    }

    #[test]
    fn a_second_before_the_opening_nobody_is_told_to_come_too_early() {
        for millis in 1..=1_000 {
            let wait = Duration::from_millis(millis);
            assert!((0..100).all(|_| Duration::from_secs(retry_after(wait)) >= wait));
        }
    }
}
