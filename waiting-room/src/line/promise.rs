//! The waiting time as an interval that about nine of ten waits fall into. Its width is learned
//! from visitors who have been admitted.
//!
//! A wait that ends outside of the interval moves the edge it crossed outwards, any other wait
//! moves the edge inwards a little; the steps balance where [`OUTSIDE`] of the waits cross each
//! edge. The steps are small, because visitors who wait at the same time err together and are heard
//! of late. Short and long waits err differently and are learned apart. Time during which the line
//! stood still does not count: nothing was promised then.

use std::time::Duration;

use contract::api::line::Interval;

/// The share of the waits that may cross each edge. Less than the 5 % that are aimed at, because
/// edges learn late and so are crossed more often than they should be.
const OUTSIDE: f64 = 0.03;
/// How far an edge moves when it is crossed, as a share of the wait.
const STEP: f64 = 0.003;
/// The first edges, and their bounds: logarithms of wait over expected wait.
const FIRST: (f64, f64) = (-0.22, 0.28);
const NEAREST: f64 = 0.01;
const FARTHEST: f64 = 2.0;
/// Bounds between bands of expected waits, each of which has edges of its own.
const BANDS_S: [f64; 4] = [5.0, 20.0, 80.0, 320.0];
/// Added to a wait before edges are computed: below a second, a relative error means little.
const GRAIN_S: f64 = 1.0;
/// Longest wait that is told: a day.
const LONGEST_S: f64 = 86_400.0;

/// The interval a visitor was told, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    pub(crate) interval: Interval,
    /// How long the line had moved when the promise was made.
    made_at: Duration,
    /// Seconds until the sale opens, which are part of the wait.
    opens_in: f64,
    expected: f64,
}

/// How a promise ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Within,
    Sooner,
    Later,
}

/// The low and the high edge of each band of expected waits.
#[derive(Clone, Debug)]
pub(crate) struct Edges([(f64, f64); BANDS_S.len() + 1]);

impl Default for Edges {
    fn default() -> Self {
        Self([FIRST; BANDS_S.len() + 1])
    }
}

impl Edges {
    /// Promises an interval around an expected wait that begins when the sale opens.
    pub(crate) fn promise(&self, expected: f64, opens_in: Duration, moved: Duration) -> Promise {
        let (low, high) = self.0[band(expected)];
        let opens_in = opens_in.as_secs_f64();
        let edge = |by: f64| opens_in + ((expected + GRAIN_S) * by.exp() - GRAIN_S).max(0.0);
        let interval = Interval {
            low: whole_seconds(edge(low).floor()),
            high: whole_seconds(edge(high).ceil()),
        };
        Promise { interval, made_at: moved, opens_in, expected }
    }

    /// Learns from how a promise ended.
    pub(crate) fn learn(&mut self, promise: &Promise, kept: Kept) {
        let (low, high) = &mut self.0[band(promise.expected)];
        let step = |crossed: bool| STEP * (f64::from(u8::from(crossed)) - OUTSIDE);
        *high = (*high + step(kept == Kept::Later)).clamp(NEAREST, FARTHEST);
        *low = (*low - step(kept == Kept::Sooner)).clamp(-FARTHEST, -NEAREST);
    }
}

impl Promise {
    /// Whether it was kept to a visitor admitted when the line had moved for `moved` in all.
    pub(crate) fn kept(&self, moved: Duration) -> Kept {
        let waited = self.waited(moved);
        if waited < f64::from(self.interval.low) {
            Kept::Sooner
        } else if waited > f64::from(self.interval.high) {
            Kept::Later
        } else {
            Kept::Within
        }
    }

    fn waited(&self, moved: Duration) -> f64 {
        // Nothing moves before the opening; the sale is assumed to open on time.
        moved.saturating_sub(self.made_at).as_secs_f64() + self.opens_in
    }
}

impl Kept {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Sooner => "sooner",
            Self::Later => "later",
        }
    }
}

fn band(expected: f64) -> usize {
    BANDS_S.iter().take_while(|band| expected > **band).count()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a day, and never negative"
)]
fn whole_seconds(seconds: f64) -> u32 {
    seconds.clamp(0.0, LONGEST_S) as u32
}

#[cfg(test)]
mod tests;
