//! How long things took, in two figures.

use std::time::Duration;

/// What half and what 99 of 100 do not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

impl Times {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        Self { p50: within(&mut times, 50), p99: within(&mut times, 99) }
    }
}

/// What so many of 100 times do not exceed; zero if there are none.
pub(super) fn within(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_times_and_nearly_all_of_them_are_within_these() {
        let ms = Duration::from_millis;
        let Times { p50, p99 } = Times::of((1..=101).rev().map(ms).collect());
        assert_eq!((p50, p99), (ms(51), ms(100)));
        assert_eq!(Times::of(Vec::new()).p99, Duration::ZERO);
    }
}
