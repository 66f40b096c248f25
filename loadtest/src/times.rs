//! How long a step took: a histogram of the whole run, and the pace of each second.

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

/// Longest time that is told apart from longer ones, in microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// Significant digits of the whole run, and of a second.
const DIGITS: u8 = 3;
const DIGITS_OF_A_SECOND: u8 = 2;
/// Most seconds whose pace is kept: a day.
const SECONDS_MAX: usize = 24 * 60 * 60;

/// The times of one step.
#[derive(Clone, Debug)]
pub struct Times {
    all: Histogram<u64>,
    /// The latest second and its times.
    now: (u32, Histogram<u32>),
    /// Earlier seconds.
    paces: Vec<(u32, Duration)>,
}

impl Default for Times {
    fn default() -> Self {
        Self { all: empty(DIGITS), now: (0, empty(DIGITS_OF_A_SECOND)), paces: Vec::new() }
    }
}

impl Times {
    /// Notes a step that ended in this second of the run. Seconds may not go back.
    pub fn note(&mut self, second: u32, took: Duration) {
        record(&mut self.all, took);
        if second != self.now.0 {
            let ended = self.pace_now();
            self.paces.extend(ended.filter(|_| self.paces.len() < SECONDS_MAX));
            self.now.0 = second;
            self.now.1.reset();
        }
        record(&mut self.now.1, took);
    }

    /// The percentiles of the run; `None` if nothing was noted.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        Latency::from_histogram(&self.all)
    }

    /// Each second in which the step ended for somebody, and its 95th percentile.
    #[must_use]
    pub fn paces(&self) -> Vec<(u32, Duration)> {
        self.paces.iter().copied().chain(self.pace_now()).collect()
    }

    fn pace_now(&self) -> Option<(u32, Duration)> {
        let (second, times) = &self.now;
        (!times.is_empty()).then(|| (*second, at(times, 0.95)))
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
            record(&mut all, took);
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

fn empty<C: Counter>(digits: u8) -> Histogram<C> {
    Histogram::new_with_bounds(1, MICROS_MAX, digits).expect("bounds that the library takes")
}

/// Times above [`MICROS_MAX`] count as that.
fn record<C: Counter>(times: &mut Histogram<C>, took: Duration) {
    times.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

fn at<C: Counter>(times: &Histogram<C>, quantile: f64) -> Duration {
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
}
