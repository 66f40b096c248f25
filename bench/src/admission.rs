//! How exactly admission keeps its rate, by Redis's clock. Pure.

use platform::number::float;
use serde::Serialize;

/// Length of the windows that goal P10 is about.
const WINDOW_MS: u64 = 10_000;
/// Distance between the starts of two windows.
const STEP_MS: u64 = 100;

/// The pace of admission over a stretch in which visitors were waiting all the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AdmissionRate {
    pub(crate) admitted: u64,
    pub(crate) per_second: f64,
    /// The largest deviation from the rate over any window of ten seconds, in per cent of the rate;
    /// `None` if the stretch is shorter.
    pub(crate) worst_percent: Option<f64>,
    /// Most visitors above burst + rate × w over windows of any length w; not above zero if the
    /// bound was kept.
    pub(crate) most_above_bound: f64,
}

impl AdmissionRate {
    /// The pace of these admissions, in order: millisecond and number of visitors of each.
    pub(crate) fn of(
        taken: &[(u64, u64)],
        from_ms: u64,
        until_ms: u64,
        rate: f64,
        burst: f64,
    ) -> Self {
        let first = taken.partition_point(|(at, _)| *at < from_ms);
        let last = taken.partition_point(|(at, _)| *at < until_ms);
        let taken = &taken[first.min(last)..last];
        let admitted = taken.iter().map(|(_, n)| n).sum();
        Self {
            admitted,
            per_second: float(admitted) * 1000.0 / float(until_ms.saturating_sub(from_ms).max(1)),
            worst_percent: worst_percent(taken, from_ms, until_ms, rate),
            most_above_bound: most_above_bound(taken, rate, burst),
        }
    }
}

fn worst_percent(taken: &[(u64, u64)], from_ms: u64, until_ms: u64, rate: f64) -> Option<f64> {
    let expected = rate * float(WINDOW_MS) / 1000.0;
    let last_start = until_ms.checked_sub(WINDOW_MS).filter(|last| *last >= from_ms)?;
    let deviations = (from_ms..=last_start).step_by(usize::try_from(STEP_MS).ok()?).map(|start| {
        let from = taken.partition_point(|(at, _)| *at < start);
        let until = taken.partition_point(|(at, _)| *at < start + WINDOW_MS);
        let within: u64 = taken[from..until].iter().map(|(_, n)| n).sum();
        (float(within) - expected).abs() / expected * 100.0
    });
    deviations.max_by(f64::total_cmp)
}

/// Every window goes from one admission to another. The admissions so far, less what the rate has
/// yielded by then, form a walk; the excess of a window is the rise of the walk over it.
fn most_above_bound(taken: &[(u64, u64)], rate: f64, burst: f64) -> f64 {
    let Some((start, _)) = taken.first() else { return -burst };
    let (mut sum, mut lowest, mut most) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for (at, n) in taken {
        let yielded = rate * float(at - start) / 1000.0;
        lowest = f64::min(lowest, sum - yielded);
        sum += float(*n);
        // Times are whole milliseconds, so the window may have been one millisecond longer.
        most = f64::max(most, sum - yielded - lowest - rate / 1000.0);
    }
    // Rounded to a thousandth of a visitor, to hide the error of adding fractions.
    ((most - burst) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `n` visitors each `every_ms` milliseconds, for a minute.
    fn steady(every_ms: u64, n: u64) -> Vec<(u64, u64)> {
        (0..60_000).step_by(usize::try_from(every_ms).unwrap()).map(|at| (at, n)).collect()
    }

    #[test]
    fn a_steady_pace_is_exact_and_within_the_bound() {
        let pace = AdmissionRate::of(&steady(100, 10), 0, 60_000, 100.0, 10.0);
        assert_eq!((pace.admitted, pace.worst_percent), (6_000, Some(0.0)));
        assert!((pace.per_second - 100.0).abs() < 1e-9);
        assert!(pace.most_above_bound <= 0.0, "{pace:?}");
    }

    #[test]
    fn a_pause_and_a_surge_are_both_errors() {
        let mut taken = steady(100, 10);
        taken.retain(|(at, _)| !(20_000..21_000).contains(at));
        let paused = AdmissionRate::of(&taken, 0, 60_000, 100.0, 10.0);
        assert_eq!(paused.worst_percent, Some(10.0));
        assert!(paused.most_above_bound <= 0.0);

        taken.push((60_000, 31));
        let surged = AdmissionRate::of(&taken, 0, 60_001, 100.0, 10.0);
        let above = surged.most_above_bound;
        assert!((above - 20.9).abs() < 0.01, "31 at once, with a burst of 10: {above}");
    }

    #[test]
    fn a_stretch_without_a_whole_window_has_no_error_to_tell() {
        assert_eq!(AdmissionRate::of(&steady(100, 10), 0, 9_000, 100.0, 10.0).worst_percent, None);
        assert_eq!(AdmissionRate::of(&[], 0, 20_000, 100.0, 10.0).worst_percent, Some(100.0));
    }

    proptest! {
        #[test]
        fn the_bound_is_the_one_over_every_window(
            taken in prop::collection::vec((0u64..3_000, 1u64..30), 1..40),
            rate in 1u32..200,
            burst in 1u32..50,
        ) {
            let mut taken = taken;
            taken.sort_unstable();
            let (rate, burst) = (f64::from(rate), f64::from(burst));
            let mut most = f64::NEG_INFINITY;
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0.0;
                for (until, n) in &taken[first..] {
                    sum += float(*n);
                    most = most.max(sum - burst - rate * float(until - from + 1) / 1000.0);
                }
            }
            let pace = AdmissionRate::of(&taken, 0, 3_000, rate, burst);
            prop_assert!((pace.most_above_bound - most).abs() < 0.001);
        }
    }
}
