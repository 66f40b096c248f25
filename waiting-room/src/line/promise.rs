//! The waiting time as an interval that keeps its word: as wide as some nine of ten waits need it
//! to be, learned from those who have been let in.
//!
//! A wait that ends outside of what was promised moves the edge it crossed outwards, any other
//! moves it inwards a little; the steps balance where [`OUTSIDE`] of the waits cross each edge.
//! Visitors who wait at the same time err together, and what they teach comes late: so the steps
//! are small. Near and far waits err differently and are learned apart. Time during which the line
//! stood still does not count: nothing was promised then.

use std::time::Duration;

use contract::api::line::Interval;

/// Each edge is to be crossed by this share of the waits. Fewer than the twentieth that is aimed
/// at, because edges that are always late in learning are crossed more often than they should be.
const OUTSIDE: f64 = 0.03;
/// How far an edge moves when it is crossed, as a share of the wait.
const STEP: f64 = 0.003;
/// Where the edges begin, and how far they go: logarithms of wait over expected wait.
const FIRST: (f64, f64) = (-0.22, 0.28);
const NEAREST: f64 = 0.01;
const FARTHEST: f64 = 2.0;
/// Expected waits up to these many seconds, and longer ones, are learned apart.
const BANDS_S: [f64; 4] = [5.0, 20.0, 80.0, 320.0];
/// Waits are compared as if all were a second longer: the last second is nobody's fault.
const GRAIN_S: f64 = 1.0;
/// Nobody is told more than a day.
const LONGEST_S: f64 = 86_400.0;

/// What somebody was told, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    pub interval: Interval,
    /// How long the line had moved then.
    made_at: Duration,
    /// Seconds of it before the sale opens.
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

/// The edges, by expected wait.
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
    /// Whether it was kept to somebody who was let in after the line had moved so long.
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
        // Until the opening nothing moves; it is taken to come when it was announced.
        moved.saturating_sub(self.made_at).as_secs_f64() + self.opens_in
    }
}

impl Kept {
    /// As it is measured.
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
