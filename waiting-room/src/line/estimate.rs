//! How long a visitor will wait: from the rate the line is set to, or from how fast it has been
//! moving where that contradicts the rate.
//!
//! With `n` visitors ahead, of whom `pace` are admitted each second and a share `leaving` gives up
//! each second, the wait is `ln(1 + n × leaving / pace) / leaving` seconds.

use std::time::Duration;

use platform::number::float;

/// Time constants of the two exponential averages: a quick one to notice a change, and a slow one
/// for an exact value while nothing changes.
const MEMORIES_S: [f64; 2] = [15.0, 120.0];
/// Standard deviations between the expected and the counted admissions that contradict a pace.
const DEVIATIONS: f64 = 3.0;
/// An estimate assumes at least this share of the set rate: a line may have stood still only
/// because nobody waited.
const LEAST_SHARE: f64 = 0.01;

/// How many visitors are admitted and how many give up; nothing is learned while the line stops.
#[derive(Clone, Debug)]
pub(crate) struct Outflow {
    /// Since when the line moves, as a time from any fixed moment.
    moving_since: Option<Duration>,
    /// How long the line had moved before the last stop.
    moved: Duration,
    updated: Duration,
    waiting: u64,
    windows: [Window; 2],
}

/// Exponentially weighted sums: older seconds weigh less.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    memory_s: f64,
    seconds: f64,
    admitted: f64,
    left: f64,
    /// Seconds times the visitors who waited.
    waited: f64,
}

impl Default for Outflow {
    fn default() -> Self {
        Self {
            moving_since: None,
            moved: Duration::ZERO,
            updated: Duration::ZERO,
            waiting: 0,
            windows: MEMORIES_S.map(|memory_s| Window { memory_s, ..Window::default() }),
        }
    }
}

impl Outflow {
    /// Notes how many were admitted, how many left, and how many wait now.
    pub(crate) fn gone(&mut self, admitted: u64, left: u64, waiting: u64, now: Duration) {
        self.catch_up(now);
        self.waiting = waiting;
        if self.moving_since.is_some() {
            for window in &mut self.windows {
                window.admitted += float(admitted);
                window.left += float(left);
            }
        }
    }

    /// Notes whether the line moves. A stop says nothing about the pace after it.
    pub(crate) fn moves(&mut self, moves: bool, now: Duration) {
        self.catch_up(now);
        match (moves, self.moving_since) {
            (true, None) => self.moving_since = Some(now),
            (false, Some(since)) => {
                self.moved += now.saturating_sub(since);
                self.moving_since = None;
            }
            _ => {}
        }
    }

    /// How long the line has moved until now, without its stops.
    pub(crate) fn moved(&self, now: Duration) -> Duration {
        self.moved + self.moving_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Seconds until none of the `ahead` visitors is left; `rate` is the admissions per second set.
    pub(crate) fn wait(&self, ahead: u64, rate: f64) -> Option<f64> {
        let pace = self.pace(rate).max(rate * LEAST_SHARE);
        if pace <= 0.0 || !pace.is_finite() {
            return None;
        }
        let leaving = self.leaving();
        let ahead = float(ahead);
        let wait =
            if leaving < 1e-6 { ahead / pace } else { (ahead * leaving / pace).ln_1p() / leaving };
        Some(wait)
    }

    /// Admissions per second: the rate, or the average that contradicts it.
    fn pace(&self, rate: f64) -> f64 {
        let [quick, slow] = &self.windows;
        if !quick.contradicts(rate) && !slow.contradicts(rate) {
            return rate;
        }
        let average = slow.admitted / slow.seconds.max(0.001);
        if quick.contradicts(average) { quick.admitted / quick.seconds.max(0.001) } else { average }
    }

    /// The share of the waiting visitors that leaves each second.
    fn leaving(&self) -> f64 {
        let [_, slow] = &self.windows;
        if slow.left < 3.0 { 0.0 } else { slow.left / slow.waited.max(1.0) }
    }

    fn catch_up(&mut self, now: Duration) {
        if self.moving_since.is_some() {
            let seconds = now.saturating_sub(self.updated).as_secs_f64();
            let waiting = float(self.waiting);
            for window in &mut self.windows {
                window.pass(seconds, waiting);
            }
        }
        self.updated = now;
    }
}

impl Window {
    fn pass(&mut self, seconds: f64, waiting: f64) {
        let kept = (-seconds / self.memory_s).exp();
        let new = self.memory_s * (1.0 - kept);
        self.seconds = self.seconds * kept + new;
        self.waited = self.waited * kept + new * waiting;
        self.admitted *= kept;
        self.left *= kept;
    }

    fn contradicts(&self, pace: f64) -> bool {
        let expected = pace * self.seconds;
        // Admissions come in bursts: a difference of a few says nothing.
        let allowed = DEVIATIONS * expected.sqrt() + 0.02 * expected + 2.0;
        (self.admitted - expected).abs() > allowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    proptest! {
        #[test]
        fn more_ahead_is_never_a_shorter_wait(ahead in 0u64..100_000, more in 0u64..100_000) {
            let outflow = Outflow::default();
            let (near, far) = (outflow.wait(ahead, 50.0), outflow.wait(ahead + more, 50.0));
            prop_assert!(near.unwrap() <= far.unwrap());
            prop_assert!((near.unwrap() - float(ahead) / 50.0).abs() < 0.001);
        }
    }

    #[test]
    fn a_pace_below_the_rate_is_learned_and_stops_do_not_slow_it() {
        let mut outflow = Outflow::default();
        outflow.moves(true, at(0));
        for second in 1..=60 {
            outflow.gone(20, 0, 1000, at(second));
        }
        let learned = outflow.wait(1000, 100.0).unwrap();
        assert!((48.0..=53.0).contains(&learned), "{learned}");
        outflow.moves(false, at(60));
        outflow.moves(true, at(600));
        let after = outflow.wait(1000, 100.0).unwrap();
        assert!((learned - after).abs() < 0.5, "{after} after a stop");
        assert_eq!(outflow.moved(at(610)), at(70));
    }

    #[test]
    fn those_ahead_who_give_up_shorten_the_wait() {
        let mut outflow = Outflow::default();
        outflow.moves(true, at(0));
        for second in 1..=120 {
            outflow.gone(10, 10, 1000, at(second));
        }
        let wait = outflow.wait(1000, 10.0).unwrap();
        // A hundredth of a thousand leaves each second: ln(2) / 0.01 instead of 100 seconds.
        assert!((66.0..=72.0).contains(&wait), "{wait}");
    }

    #[test]
    fn a_line_that_cannot_move_has_no_estimate() {
        assert_eq!(Outflow::default().wait(10, 0.0), None);
    }
}
