//! The goals that a run is compared with, and the promises it must not break.

use std::fmt;

use serde::Serialize;

use crate::{
    figures::{Figures, Stretch},
    freshness::AgeSummary,
};

/// Growth up to this factor counts as none, for figures that must not grow with the watchers.
const SAME: f64 = 1.3;
const BYTES_MAX: f64 = 6.0 * 1024.0;
const FRONT_AGE_MS_MAX: usize = 1_000;
const AGE_MS_MAX: usize = 10_000;
const OFF_PERCENT_MAX: f64 = 1.0;

/// A goal and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    /// `None` if this run could not measure it.
    pub(crate) met: Option<bool>,
}

impl Goal {
    pub(crate) fn new(
        id: &'static str,
        what: &'static str,
        wanted: impl Into<String>,
        measured: Option<(String, bool)>,
    ) -> Self {
        let (measured, met) = match measured {
            Some((measured, met)) => (measured, Some(met)),
            None => ("?".into(), None),
        };
        Self { id, what, wanted: wanted.into(), measured, met }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, what, wanted, measured, met } = self;
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        write!(f, "{id:<6}{what:<46}{wanted:>12}{measured:>26}  {verdict}")
    }
}

/// Broken promises, in words. A missed goal is not a broken promise.
pub(crate) fn broken(figures: &Figures) -> Vec<String> {
    let mut broken = Vec::new();
    if figures.counts.rose > 0 {
        broken.push(format!("{} numbers rose on a visitor's screen", figures.counts.rose));
    }
    let above = figures.stirred.admission.most_above_bound;
    if above > 0.0 {
        broken.push(format!("{above:.1} visitors above burst + rate × w were let in"));
    }
    for (what, n) in &figures.counts.failed {
        broken.push(format!("{n} visitors could not go on: {what}"));
    }
    broken
}

/// The goals of the line, with the figures of a run.
pub(crate) fn goals(figures: &Figures) -> Vec<Goal> {
    let freshness = &figures.stirred.freshness;
    let pace = &figures.stirred.admission;
    let rose = figures.counts.rose;
    vec![
        watching(figures),
        Goal::new(
            "P7",
            "memory of the nodes, each",
            "≤ 6 KiB",
            figures
                .bytes_per_socket
                .map(|bytes| (format!("{:.1} KiB", bytes / 1024.0), bytes <= BYTES_MAX)),
        ),
        Goal::new(
            "P7",
            "Redis operations, most ÷ fewest watchers",
            "the same",
            growth(figures, |step| Some(step.redis.operations)),
        ),
        Goal::new(
            "P8",
            "age of a number, front 1 %, p99",
            "≤ 1 s",
            freshness.front.as_ref().map(|ages| age(ages, FRONT_AGE_MS_MAX)),
        ),
        Goal::new(
            "P8",
            "age of a number, everyone, p99",
            "≤ 10 s",
            freshness.everyone.as_ref().map(|ages| age(ages, AGE_MS_MAX)),
        ),
        joins(figures),
        Goal::new(
            "P10",
            "admission over any 10 s, off the rate",
            "≤ 1 %",
            pace.worst_percent.map(|off| (format!("{off:.2} %"), off <= OFF_PERCENT_MAX)),
        ),
        Goal::new(
            "P10",
            "admitted above burst + rate × w",
            "never",
            Some((format!("{:+.1} visitors", pace.most_above_bound), pace.most_above_bound <= 0.0)),
        ),
        Goal::new(
            "P11",
            "CPU by frame, most ÷ fewest watchers",
            format!("≤ {SAME}"),
            growth(figures, Stretch::micros_per_frame),
        ),
        Goal::new("R7", "numbers that rose", "0", Some((rose.to_string(), rose == 0))),
    ]
}

fn watching(figures: &Figures) -> Goal {
    let most = figures.steps.iter().map(|step| step.watching).max().unwrap_or(0);
    let met = most >= figures.watchers as u64;
    Goal::new("P7", "watching live", figures.watchers.to_string(), Some((most.to_string(), met)))
}

fn joins(figures: &Figures) -> Goal {
    let measured = figures.steps.last().map(|step| {
        let (ratio, joins) = (step.joins.ratio(), &step.joins);
        let text = format!(
            "{ratio:.2} ({:.0}/s ÷ {:.0}/s)",
            joins.per_second, joins.redis_alone_per_second
        );
        (text, ratio >= 1.0)
    });
    Goal::new("P9", "joins ÷ Redis's own rate", "≥ 1", measured)
}

/// The growth of a figure from the first step to the last.
fn growth(figures: &Figures, of: impl Fn(&Stretch) -> Option<f64>) -> Option<(String, bool)> {
    let [first, .., last] = figures.steps.as_slice() else { return None };
    let grown = of(&last.quiet)? / of(&first.quiet)?;
    Some((format!("{grown:.2}"), grown <= SAME))
}

fn age(ages: &AgeSummary, ms_max: usize) -> (String, bool) {
    (format!("{} ms", ages.p99_ms), ages.p99_ms <= ms_max)
}

#[cfg(test)]
mod tests {
    use loadtest::stampede::Counts;

    use super::*;
    use crate::{
        admission::AdmissionRate,
        figures::{Joins, Step, Stirred},
        freshness::Freshness,
        line_probe::Load,
    };

    fn step(watching: u64, operations: f64, frames_per_second: f64, node_cores: f64) -> Step {
        let redis = Load { operations, ..Load::default() };
        let node_cores = Some(node_cores);
        Step {
            watching,
            joins: Joins::of(Vec::new(), 1_000.0, Stretch::default()),
            quiet: Stretch { frames_per_second, redis, node_cores, ..Stretch::default() },
        }
    }

    fn figures(steps: Vec<Step>) -> Figures {
        Figures {
            watchers: 1_000,
            nodes: 2,
            stampedes: 1,
            steps,
            bytes_per_socket: Some(5_000.0),
            stirred: Stirred {
                arrived: 0,
                rate: 100.0,
                burst: 50,
                stretch: Stretch::default(),
                admission: AdmissionRate::of(&[], 0, 5_000, 100.0, 50.0),
                freshness: Freshness::default().summary(),
            },
            counts: Counts::default(),
        }
    }

    fn verdict(figures: &Figures, what: &str) -> Option<bool> {
        let goals = goals(figures);
        goals.iter().find(|goal| goal.what.contains(what)).expect("a goal").met
    }

    #[test]
    fn what_must_not_grow_is_held_against_the_smallest_step() {
        let grown = figures(vec![step(100, 500.0, 100.0, 0.01), step(1_000, 800.0, 1_000.0, 0.1)]);
        assert_eq!(verdict(&grown, "Redis operations"), Some(false));
        assert_eq!(verdict(&grown, "CPU by frame"), Some(true));
        assert_eq!(verdict(&grown, "watching live"), Some(true));
        assert_eq!(verdict(&grown, "memory"), Some(true));
    }

    #[test]
    fn what_a_run_could_not_tell_is_neither_met_nor_missed() {
        let one = figures(vec![step(900, 500.0, 100.0, 0.01)]);
        assert_eq!(verdict(&one, "Redis operations"), None);
        assert_eq!(verdict(&one, "any 10 s"), None);
        assert_eq!(verdict(&one, "front 1 %"), None);
        assert_eq!(verdict(&one, "watching live"), Some(false));
    }

    #[test]
    fn a_goal_that_is_missed_breaks_no_promise_but_a_number_that_rises_does() {
        let mut run = figures(vec![step(900, 500.0, 100.0, 0.01)]);
        assert!(broken(&run).is_empty());
        run.counts.rose = 1;
        run.counts.failed.insert("join: no answer".into(), 3);
        run.stirred.admission.most_above_bound = 0.5;
        assert_eq!(broken(&run).len(), 3);
        assert_eq!(verdict(&run, "rose"), Some(false));
        assert_eq!(verdict(&run, "above"), Some(false));
    }
}
