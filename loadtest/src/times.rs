//! How long a step took: how often each time was seen in the whole run, and in each second.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest time that is told apart from longer ones, in microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// Significant digits of the whole run, and of a second.
const DIGITS: u8 = 3;
const DIGITS_OF_A_SECOND: u8 = 2;
/// Binary digits that tell as much, as the histograms have them.
const BITS: u32 = 11;
const BITS_OF_A_SECOND: u32 = 8;
/// Seconds of which the pace is kept: a day.
const SECONDS_MAX: u32 = 24 * 60 * 60;

/// How often each time was seen, in microseconds.
type Counts = BTreeMap<u64, u64>;

/// The times of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    all: Counts,
    /// The same for each second of the run, less exact.
    seconds: BTreeMap<u32, Counts>,
}

impl Times {
    /// Notes a step that ended in this second of the run.
    pub fn note(&mut self, second: u32, took: Duration) {
        let micros = micros(took);
        *self.all.entry(rounded(micros, BITS)).or_default() += 1;
        if second < SECONDS_MAX {
            let times = self.seconds.entry(second).or_default();
            *times.entry(rounded(micros, BITS_OF_A_SECOND)).or_default() += 1;
        }
    }

    /// Adds the times that others took for this step.
    pub(crate) fn add(&mut self, other: Self) {
        add(&mut self.all, other.all);
        for (second, times) in other.seconds {
            add(self.seconds.entry(second).or_default(), times);
        }
    }

    /// The percentiles of the run; `None` if nothing was noted.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        Latency::from_histogram(&histogram(&self.all, DIGITS))
    }

    /// Each second in which the step ended for somebody, and its 95th percentile.
    #[must_use]
    pub fn paces(&self) -> Vec<(u32, Duration)> {
        let pace = |times| at(&histogram(times, DIGITS_OF_A_SECOND), 0.95);
        self.seconds.iter().map(|(second, times)| (*second, pace(times))).collect()
    }
}

/// Times of one step, right to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub n: u64,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Latency {
    /// The latency of these times; `None` without any.
    #[must_use]
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut all = empty(DIGITS);
        for took in times {
            all.saturating_record(micros(took));
        }
        Self::from_histogram(&all)
    }

    fn from_histogram(all: &Histogram<u64>) -> Option<Self> {
        (!all.is_empty()).then(|| Self {
            n: all.len(),
            p50: at(all, 0.5),
            p95: at(all, 0.95),
            p99: at(all, 0.99),
            max: at(all, 1.0),
        })
    }
}

fn add(to: &mut Counts, more: Counts) {
    for (micros, n) in more {
        *to.entry(micros).or_default() += n;
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The largest time with the same first `bits`.
fn rounded(micros: u64, bits: u32) -> u64 {
    let spare = (u64::BITS - micros.leading_zeros()).saturating_sub(bits);
    micros | !(u64::MAX << spare)
}

fn empty(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, digits).expect("bounds that the library takes")
}

/// Times above [`MICROS_MAX`] count as that.
fn histogram(times: &Counts, digits: u8) -> Histogram<u64> {
    let mut all = empty(digits);
    for (micros, n) in times {
        all.saturating_record_n(*micros, *n);
    }
    all
}

fn at(times: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_micros(times.value_at_quantile(quantile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let latency = Latency::of((1..=100_000).rev().map(Duration::from_micros)).unwrap();
        assert_eq!(latency.n, 100_000);
        let wanted = [(latency.p50, 50_000), (latency.p95, 95_000), (latency.p99, 99_000)];
        for (seen, wanted) in wanted.into_iter().chain([(latency.max, 100_000)]) {
            let wrong = seen.abs_diff(Duration::from_micros(wanted));
            assert!(wrong <= Duration::from_micros(wanted) / 1000, "{seen:?}, not {wanted} us");
        }
        let one = Latency::of([Duration::from_micros(7)]).unwrap();
        assert_eq!((one.p50.as_micros(), one.max.as_micros()), (7, 7));
        assert_eq!(Latency::of([]), None);
    }

    #[test]
    fn each_second_has_a_pace_of_its_own() {
        let mut times = Times::default();
        assert_eq!(times.paces(), []);
        for (second, millis) in [(3, 10), (3, 10), (9, 200), (10, 5)] {
            times.note(second, Duration::from_millis(millis));
        }
        let paces = times.paces();
        assert_eq!(paces.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [3, 9, 10]);
        let wrong = paces[1].1.abs_diff(Duration::from_millis(200));
        assert!(wrong < Duration::from_millis(3), "{paces:?}");
        assert_eq!(times.latency().unwrap().n, 4);
    }

    #[test]
    fn times_that_were_noted_apart_add_up() {
        let (mut whole, mut parts) = (Times::default(), [Times::default(), Times::default()]);
        for n in 0..1_000u32 {
            let (second, took) = (n / 100, Duration::from_micros(u64::from(n).pow(3)));
            whole.note(second, took);
            parts[usize::from(n.is_multiple_of(3))].note(second, took);
        }
        let [mut sum, other] = parts;
        sum.add(other);
        assert_eq!(sum, whole);
        let exact = Latency::of((0..1_000u64).map(|n| Duration::from_micros(n.pow(3))));
        assert_eq!(sum.latency(), exact);
    }
}
