//! The figures of the rounds, and the goals beside them.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use platform::number::float;
use serde::Serialize;
use serde_json::json;

use super::round::Round;
use crate::goals::Goal;

/// Of the other version's speed; what is lost must be noise.
const SPEED_MIN: f64 = 0.95;
/// Processor time per booking ÷ the other version's.
const COST_MAX: f64 = 0.25;

/// Everything that was measured. Each figure is the median of its rounds.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    bookings: u32,
    at_once: u16,
    ours: Version,
    against: Option<Version>,
}

/// The figures of one version.
#[derive(Debug, Serialize)]
struct Version {
    rounds: usize,
    accepted_per_second: Spread,
    decided_per_second: Spread,
    accepted_p50_ms: Spread,
    accepted_p99_ms: Spread,
    repeats: Spread,
    /// Processor time per booking, in microseconds, by process.
    micros: BTreeMap<String, Spread>,
    /// Of all processes; `None` if one of them could not be read.
    micros_of_all: Option<Spread>,
}

/// A figure of several rounds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

/// Processes whose processor time is asked for.
const PROCESSES: usize = 6;

impl Figures {
    pub(super) fn of(bookings: u32, at_once: u16, ours: &[Round], theirs: &[Round]) -> Self {
        let against = (!theirs.is_empty()).then(|| Version::of(bookings, theirs));
        Self { bookings, at_once, ours: Version::of(bookings, ours), against }
    }

    /// Whether every goal was met.
    pub(super) fn are_met(&self) -> bool {
        self.goals().iter().all(|goal| goal.met == Some(true))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({ "goals": self.goals(), "figures": self })
    }

    fn goals(&self) -> Vec<Goal> {
        let Some(against) = &self.against else { return Vec::new() };
        let speed = self.ours.decided_per_second.median / against.decided_per_second.median;
        let cost = self.ours.micros_of_all.zip(against.micros_of_all);
        let cost = cost.map(|(ours, theirs)| ours.median / theirs.median);
        let figure = |ratio: f64, met| (format!("{ratio:.2}"), met);
        vec![
            Goal::new(
                "S9",
                "decided per second ÷ the other version's",
                format!("≥ {SPEED_MIN}"),
                Some(figure(speed, speed >= SPEED_MIN)),
            ),
            Goal::new(
                "P15",
                "processor time per booking ÷ its",
                format!("≤ {COST_MAX}"),
                cost.map(|cost| figure(cost, cost <= COST_MAX)),
            ),
        ]
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut String) -> std::fmt::Result {
        let Self { bookings, at_once, .. } = self;
        writeln!(f, "{bookings} bookings in each round, {at_once} requests at once")?;
        self.ours.write(f, "this version")?;
        if let Some(against) = &self.against {
            against.write(f, "the other version")?;
        }
        writeln!(f)?;
        self.goals().iter().try_for_each(|goal| writeln!(f, "{goal}"))
    }
}

impl Version {
    fn of(bookings: u32, rounds: &[Round]) -> Self {
        let n = f64::from(bookings);
        let of = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
        let mut micros: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, cpu) in rounds.iter().flat_map(|round| &round.cpu) {
            micros.entry(name.clone()).or_default().push(cpu.as_secs_f64() * 1e6 / n);
        }
        let all = |round: &Round| {
            let sum: Duration = round.cpu.values().sum();
            (round.cpu.len() == PROCESSES).then_some(sum.as_secs_f64() * 1e6 / n)
        };
        Self {
            rounds: rounds.len(),
            accepted_per_second: of(&|round| n / round.sent.took.as_secs_f64()),
            decided_per_second: of(&|round| n / round.decided_in.as_secs_f64()),
            accepted_p50_ms: of(&|round| percentile_ms(&round.sent.accepted_in, 50)),
            accepted_p99_ms: of(&|round| percentile_ms(&round.sent.accepted_in, 99)),
            repeats: of(&|round| float(round.sent.repeats)),
            micros: micros.into_iter().map(|(name, all)| (name, Spread::of(all))).collect(),
            micros_of_all: rounds.iter().map(all).collect::<Option<Vec<_>>>().map(Spread::of),
        }
    }

    fn write(&self, f: &mut String, name: &str) -> std::fmt::Result {
        writeln!(f, "\n{name}: median (least to most) of {} rounds", self.rounds)?;
        row(f, "accepted per second", self.accepted_per_second)?;
        row(f, "decided per second", self.decided_per_second)?;
        row(f, "accepted within, p50, ms", self.accepted_p50_ms)?;
        row(f, "accepted within, p99, ms", self.accepted_p99_ms)?;
        row(f, "requests sent again", self.repeats)?;
        for (process, micros) in &self.micros {
            row(f, &format!("processor time per booking, {process}, µs"), *micros)?;
        }
        match self.micros_of_all {
            Some(micros) => row(f, "processor time per booking, all, µs", micros),
            None => writeln!(f, "  processor time of all: a process could not be read"),
        }
    }
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |n: usize| all.get(n).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(all.len() / 2), most: at(all.len().saturating_sub(1)) }
    }
}

fn percentile_ms(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn row(f: &mut String, name: &str, figure: Spread) -> std::fmt::Result {
    let Spread { least, median, most } = figure;
    writeln!(f, "  {name:<46}{median:>12.1}  ({least:.1} to {most:.1})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bookings::sender::Sent;

    fn round(decided_s: u64, cpu_s: u64, processes: usize) -> Round {
        let sent = Sent {
            took: Duration::from_secs(1),
            accepted_in: vec![Duration::from_millis(1), Duration::from_millis(3)],
            repeats: 0,
        };
        let cpu = |n: usize| (format!("process {n}"), Duration::from_secs(cpu_s));
        let decided_in = Duration::from_secs(decided_s);
        Round { sent, decided_in, cpu: (0..processes).map(cpu).collect() }
    }

    #[test]
    fn the_medians_of_both_versions_are_compared() {
        let ours = [round(2, 1, PROCESSES), round(9, 9, PROCESSES), round(1, 1, PROCESSES)];
        let theirs = [round(4, 8, PROCESSES)];
        let figures = Figures::of(1_000, 8, &ours, &theirs);
        assert!((figures.ours.decided_per_second.median - 500.0).abs() < 1e-9);
        assert!((figures.ours.accepted_p99_ms.median - 3.0).abs() < 1e-9);
        let measured: Vec<_> = figures.goals().into_iter().map(|goal| goal.measured).collect();
        assert_eq!(measured, ["2.00", "0.12"]);
        assert!(figures.are_met());
        assert!(!Figures::of(1_000, 8, &theirs, &ours).are_met());
    }

    #[test]
    fn a_process_that_cannot_be_read_leaves_the_cost_unknown() {
        let (ours, theirs) = ([round(2, 1, PROCESSES - 1)], [round(2, 1, PROCESSES)]);
        let figures = Figures::of(1_000, 8, &ours, &theirs);
        assert_eq!(figures.goals()[1].met, None);
        assert!(!figures.are_met());
        assert!(Figures::of(1_000, 8, &ours, &[]).are_met(), "there is nothing to compare");
    }
}
