//! How long somebody will wait, as an interval: from how fast the line has been moving, or, as
//! long as that is not known, from how fast it is set to move.

use std::time::Duration;

use contract::api::line::Interval;
use tokio::time::Instant;

/// The observed pace forgets with this time constant.
const MEMORY: Duration = Duration::from_secs(15);
/// The pace counts once the line has been watched moving this long.
const WARM_UP: Duration = Duration::from_secs(5);
/// The interval: so much less and more than the expected wait.
const SOONER: f64 = 0.8;
const LATER: f64 = 1.3;
/// Nobody is told more than a day.
const LONGEST_S: f64 = 86_400.0;

/// How many leave the line per second: an average that forgets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outflow {
    /// Since when the line moves, without a stop.
    since: Option<Instant>,
    updated: Option<Instant>,
    /// Decayed count of those gone, and decayed seconds watched.
    gone: f64,
    seconds: f64,
}

impl Outflow {
    /// Notes that so many left the line.
    pub(crate) fn gone(&mut self, count: u64, now: Instant) {
        if self.since.is_some() {
            self.decay(now);
            self.gone += float(count);
        }
    }

    /// Notes whether the line moves. A stop says nothing about the pace after it, so the time of
    /// the stop does not count.
    pub(crate) fn moves(&mut self, moves: bool, now: Instant) {
        match (moves, self.since) {
            (true, None) => (self.since, self.updated) = (Some(now), Some(now)),
            (false, Some(_)) => {
                self.decay(now);
                (self.since, self.updated) = (None, None);
            }
            _ => {}
        }
    }

    /// Those gone per second, once that is known well enough.
    pub(crate) fn per_second(&self, now: Instant) -> Option<f64> {
        let fresh = self.updated.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let (gone, seconds) = decayed(self.gone, self.seconds, fresh);
        (seconds >= WARM_UP.as_secs_f64() && gone >= 1.0).then(|| gone / seconds)
    }

    fn decay(&mut self, now: Instant) {
        let fresh = self.updated.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        (self.gone, self.seconds) = decayed(self.gone, self.seconds, fresh);
        self.updated = Some(now);
    }
}

fn decayed(gone: f64, seconds: f64, fresh: f64) -> (f64, f64) {
    let memory = MEMORY.as_secs_f64();
    let kept = (-fresh / memory).exp();
    (gone * kept, seconds * kept + memory * (1.0 - kept))
}

/// The wait of somebody with so many ahead; `None` where nothing moves.
pub(crate) fn wait(ahead: u64, observed: Option<f64>, rate: f64) -> Option<Interval> {
    // The line may be held back by a cap or move faster because people leave: what was seen
    // counts. It is trusted down to a hundredth of the rate, for a quiet line is not a stuck one.
    let pace = observed.map_or(rate, |pace| pace.max(rate / 100.0));
    if pace <= 0.0 || !pace.is_finite() {
        return None;
    }
    let expected = float(ahead) / pace;
    // A second or two on top: being told takes a moment too.
    Some(Interval {
        low: whole_seconds(expected * SOONER),
        high: whole_seconds(expected * LATER + 2.0),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a day, and never negative"
)]
fn whole_seconds(seconds: f64) -> u32 {
    seconds.clamp(0.0, LONGEST_S).round() as u32
}

#[expect(clippy::cast_precision_loss, reason = "counts of people are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_interval_holds_the_wait_of_a_steady_line(
            ahead in 0u64..1_000_000,
            rate in 0.01f64..100_000.0,
        ) {
            let interval = wait(ahead, None, rate).unwrap();
            let real = (float(ahead) / rate).min(LONGEST_S);
            prop_assert!(f64::from(interval.low) <= real + 0.5);
            prop_assert!(f64::from(interval.high) >= real - 0.5);
            prop_assert!(interval.low <= interval.high);
        }

        #[test]
        fn more_ahead_is_never_a_shorter_wait(ahead in 0u64..100_000, more in 0u64..100_000) {
            let (near, far) = (wait(ahead, None, 50.0).unwrap(), wait(ahead + more, None, 50.0).unwrap());
            prop_assert!(near.low <= far.low && near.high <= far.high);
        }
    }

    #[test]
    fn the_pace_is_learned_and_stops_do_not_slow_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outflow = Outflow::default();
        outflow.moves(true, at(0));
        assert_eq!(outflow.per_second(at(4)), None, "not known yet");
        for second in 1..=60 {
            outflow.gone(20, at(second));
        }
        let pace = outflow.per_second(at(60)).unwrap();
        assert!((18.0..=22.0).contains(&pace), "{pace}");

        outflow.moves(false, at(60));
        outflow.moves(true, at(600));
        let after = outflow.per_second(at(600)).unwrap();
        assert!((pace - after).abs() < 0.5, "{after} after a stop");
    }

    #[test]
    fn a_line_that_cannot_move_has_no_estimate() {
        assert_eq!(wait(10, None, 0.0), None);
    }
}
