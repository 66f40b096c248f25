//! The figures of a run with many shows, and the goals beside them.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::paced::OutcomeTimes;
use crate::goals::Goal;

const CORES_MAX: f64 = 0.3;
const TAKEOVER_S_MAX: f64 = 15.0;
const P99_RATIO_MAX: f64 = 1.5;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) shows: usize,
    pub(super) partitions: usize,
    pub(super) seconds: u64,
    /// Bookings of the busy show per second.
    pub(super) rate: u32,
    /// The machine's load average over the idle stretch.
    pub(super) load_average: Option<f64>,
    /// Seconds from the opening of the other shows until all queues were served.
    pub(super) opened_s: f64,
    pub(super) idle: Vec<Cores>,
    pub(super) alone: OutcomeTimes,
    pub(super) among: OutcomeTimes,
    pub(super) trouble: Trouble,
    pub(super) takeover: Takeover,
}

/// Processor time of a process while no visitor came.
#[derive(Debug, Serialize)]
pub(super) struct Cores {
    pub(super) process: String,
    pub(super) share: Option<f64>,
    pub(super) rss_mib: Option<f64>,
}

/// The figures after a queue was deleted and a line paused by hand.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    /// Bookings of the busy show meanwhile.
    pub(super) meanwhile: OutcomeTimes,
    /// Seconds until the queue was there and served again.
    pub(super) back_s: f64,
}

/// The figures of a takeover, in seconds from the kill of the allocator.
#[derive(Debug, Serialize)]
pub(super) struct Takeover {
    /// Seconds until every queue was served again.
    pub(super) all_s: f64,
    /// Seconds until the waiting bookings of the busy show were decided.
    pub(super) busy_s: f64,
    /// Queues that were served by that time.
    pub(super) served_at_busy: usize,
}

impl Figures {
    /// Whether every goal was met.
    pub(super) fn are_met(&self) -> bool {
        self.goals().iter().all(|goal| goal.met == Some(true))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({ "goals": self.goals(), "figures": self })
    }

    fn cores(&self) -> Option<f64> {
        self.idle.iter().map(|process| process.share).sum()
    }

    fn goals(&self) -> Vec<Goal> {
        let within = |what, wanted: String, measured: f64, unit, max: f64| {
            let measured = Some((format!("{measured:.2}{unit}"), measured <= max));
            Goal::new("S2", what, wanted, measured)
        };
        let ratio = |pace: &OutcomeTimes| pace.p99_ms / self.alone.p99_ms;
        vec![
            Goal::new(
                "S2",
                "our processes while nobody comes",
                format!("≤ {CORES_MAX} cores"),
                self.cores().map(|cores| (format!("{cores:.2}"), cores <= CORES_MAX)),
            ),
            within(
                "a killed allocator: all served after",
                format!("≤ {TAKEOVER_S_MAX} s"),
                self.takeover.all_s,
                " s",
                TAKEOVER_S_MAX,
            ),
            within(
                "  the busy show decided after",
                "before all".into(),
                self.takeover.busy_s,
                " s",
                self.takeover.all_s,
            ),
            within(
                "busy show among others, p99 ÷ alone",
                format!("≤ {P99_RATIO_MAX}"),
                ratio(&self.among),
                "",
                P99_RATIO_MAX,
            ),
            within(
                "  while another's queue is deleted",
                format!("≤ {P99_RATIO_MAX}"),
                ratio(&self.trouble.meanwhile),
                "",
                P99_RATIO_MAX,
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
        let Self { shows, partitions, .. } = self;
        writeln!(f, "Many shows: {shows} open, {partitions} queues, one allocator")?;
        let load = self.load_average.map_or("?".into(), |load| format!("{load:.2}"));
        row(f, "opened and served after", format!("{:.1} s", self.opened_s))?;
        row(f, "machine's load meanwhile (1 min)", load)?;
        for Cores { process, share, rss_mib } in &self.idle {
            let cores = share.map_or("?".into(), |cores| format!("{cores:.3} cores"));
            let rss = rss_mib.map_or("?".into(), |mib| format!("{mib:.0} MiB"));
            row(f, &format!("idle: {process}"), format!("{cores}, {rss}"))?;
        }
        let paces = [
            ("alone", &self.alone),
            ("among others", &self.among),
            ("while a queue is deleted", &self.trouble.meanwhile),
        ];
        for (name, pace) in paces {
            let OutcomeTimes { bookings, p50_ms, p99_ms, repeats } = pace;
            let figures = format!("{p50_ms:.0} / {p99_ms:.0} ms ({bookings}, {repeats} again)");
            row(f, &format!("busy show {name}: p50 / p99"), figures)?;
        }
        row(f, "a deleted queue is served again after", format!("{:.1} s", self.trouble.back_s))?;
        let at_busy = self.takeover.served_at_busy;
        row(f, "served when the busy show was decided", format!("{at_busy} of {partitions}"))?;
        writeln!(f)?;
        self.goals().iter().try_for_each(|goal| writeln!(f, "{goal}"))
    }
}

fn row(f: &mut String, name: &str, figure: impl std::fmt::Display) -> std::fmt::Result {
    writeln!(f, "  {name:<46}{figure:>32}")
}
