//! A figure of several rounds: its median, its least and its most.

use std::{fmt::Write as _, ops::Div};

use serde::Serialize;

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    least: f64,
    pub(super) median: f64,
    most: f64,
}

/// The figures of [`Times`](super::times::Times).
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: Spread,
    pub(super) p99: Spread,
}

impl Spread {
    pub(super) fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |n: usize| all.get(n).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(all.len() / 2), most: at(all.len().saturating_sub(1)) }
    }
}

impl Div for Spread {
    type Output = f64;

    /// The ratio of the medians.
    fn div(self, other: Self) -> f64 {
        self.median / other.median
    }
}

impl Percentiles {
    pub(super) fn write(&self, f: &mut String, name: &str) -> std::fmt::Result {
        row(f, &format!("{name}, p50, ms"), self.p50)?;
        row(f, &format!("{name}, p99, ms"), self.p99)
    }
}

impl Div for Percentiles {
    type Output = [f64; 2];

    fn div(self, other: Self) -> [f64; 2] {
        [self.p50 / other.p50, self.p99 / other.p99]
    }
}

pub(super) fn row(f: &mut String, name: &str, figure: Spread) -> std::fmt::Result {
    let Spread { least, median, most } = figure;
    writeln!(f, "  {name:<46}{median:>12.1}  ({least:.1} to {most:.1})")
}
