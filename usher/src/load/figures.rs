//! What a run measured, and the goals it is held against.

use loadtest::{
    report::Latency,
    stampede::{Counts, Joined},
};
use serde::Serialize;

use super::{
    admission::Pace,
    freshness::{AgeSummary, Summary},
    line_store::Load,
};

/// Growth up to this counts as none, for what must not depend on the number of watchers.
const SAME: f64 = 1.3;
const KIB: f64 = 1024.0;

/// Everything that was measured.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) watchers: usize,
    pub(super) nodes: usize,
    pub(super) stampedes: usize,
    pub(super) steps: Vec<Step>,
    /// Resident memory of the nodes that came with the sockets, by socket.
    pub(super) bytes_per_socket: Option<f64>,
    pub(super) stirred: Stirred,
    pub(super) counts: Counts,
}

/// So many watchers, and nobody coming or going but those who are let in.
#[derive(Serialize)]
pub(super) struct Step {
    /// Sockets open at once before anybody is let in.
    pub(super) watching: u64,
    pub(super) joins: Joins,
    pub(super) quiet: Stretch,
}

/// Joins as fast as they were answered.
#[derive(Serialize)]
pub(super) struct Joins {
    pub(super) joined: usize,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Calls of the join's script that Redis answers one after the other, measured just before.
    pub(super) redis_alone_per_second: f64,
    pub(super) meanwhile: Stretch,
}

/// While visitors came, left, lost their connections, and were let in at the full rate.
#[derive(Serialize)]
pub(super) struct Stirred {
    pub(super) arrived: u64,
    pub(super) rate: f64,
    pub(super) burst: i32,
    pub(super) stretch: Stretch,
    pub(super) admission: Pace,
    pub(super) freshness: Summary,
}

/// What happened over a stretch of time.
#[derive(Serialize)]
pub(super) struct Stretch {
    pub(super) seconds: f64,
    pub(super) watching_at_first: u64,
    pub(super) watching_at_last: u64,
    pub(super) left: u64,
    pub(super) reconnected: u64,
    pub(super) frames_per_second: f64,
    pub(super) redis: Load,
    /// Cores that the nodes kept busy; `None` where the system does not tell.
    pub(super) node_cores: Option<f64>,
    /// And the visitors.
    pub(super) stampede_cores: Option<f64>,
}

/// A goal and what was measured.
#[derive(Debug, Serialize)]
pub(super) struct Goal {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) wanted: String,
    pub(super) measured: String,
    /// `None` where this run could not tell.
    pub(super) met: Option<bool>,
}

impl Joins {
    /// Of what the stampedes told, in one go.
    pub(super) fn of(told: Vec<Joined>, redis_alone_per_second: f64, meanwhile: Stretch) -> Self {
        let from = told.iter().map(|joined| joined.from_ms).min().unwrap_or(0);
        let until = told.iter().map(|joined| joined.until_ms).max().unwrap_or(0);
        let took: Vec<u32> = told.into_iter().flat_map(|joined| joined.took_micros).collect();
        let joined = took.len();
        let seconds = float(until.saturating_sub(from).max(1)) / 1000.0;
        let latency = Latency::of(took);
        let ms = |of: fn(&Latency) -> std::time::Duration| {
            latency.as_ref().map_or(0.0, |latency| of(latency).as_secs_f64() * 1000.0)
        };
        Self {
            joined,
            per_second: float(joined as u64) / seconds,
            p50_ms: ms(|latency| latency.p50),
            p99_ms: ms(|latency| latency.p99),
            redis_alone_per_second,
            meanwhile,
        }
    }

    fn ratio(&self) -> f64 {
        self.per_second / self.redis_alone_per_second
    }
}

impl Stretch {
    /// Microseconds of the nodes' processors for each frame.
    pub(super) fn micros_per_frame(&self) -> Option<f64> {
        let cores = self.node_cores?;
        (self.frames_per_second > 0.0).then(|| cores * 1e6 / self.frames_per_second)
    }
}

impl Figures {
    /// Promises that were not kept, in words; goals are another matter.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.counts.rose > 0 {
            broken.push(format!("{} numbers rose on a visitor's screen", self.counts.rose));
        }
        if self.stirred.admission.most_above_bound > 0.0 {
            let above = self.stirred.admission.most_above_bound;
            broken.push(format!("{above:.1} visitors above burst + rate × w were let in"));
        }
        for (what, n) in &self.counts.failed {
            broken.push(format!("{n} visitors could not go on: {what}"));
        }
        broken
    }

    /// The goals that are about the line, with the figures of this run.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let mut goals = self.of_watching();
        goals.extend(self.of_freshness());
        if let Some(joins) = self.steps.last().map(|step| &step.joins) {
            let measured = format!(
                "{:.2} ({:.0}/s ÷ {:.0}/s)",
                joins.ratio(),
                joins.per_second,
                joins.redis_alone_per_second
            );
            goals.push(goal(
                "P9",
                "joins ÷ Redis's own rate",
                "≥ 1",
                measured,
                joins.ratio() >= 1.0,
            ));
        }
        let pace = &self.stirred.admission;
        goals.push(Goal {
            id: "P10",
            what: "admission over any 10 s, off the rate",
            wanted: "≤ 1 %".into(),
            measured: pace.worst_percent.map_or("too short".into(), |off| format!("{off:.2} %")),
            met: pace.worst_percent.map(|off| off <= 1.0),
        });
        let above = format!("{:+.1} visitors", pace.most_above_bound);
        let kept = pace.most_above_bound <= 0.0;
        goals.push(goal("P10", "admitted above burst + rate × w", "never", above, kept));
        let rose = self.counts.rose;
        goals.push(goal("R7", "numbers that rose", "0", rose.to_string(), rose == 0));
        goals
    }

    fn of_watching(&self) -> Vec<Goal> {
        let most = self.steps.iter().map(|step| step.watching).max().unwrap_or(0);
        let wanted = self.watchers as u64;
        let mut goals = vec![
            goal("P7", "watching live", &wanted.to_string(), most.to_string(), most >= wanted),
            Goal {
                id: "P7",
                what: "memory of the nodes, each",
                wanted: "≤ 6 KiB".into(),
                measured: self
                    .bytes_per_socket
                    .map_or("not known here".into(), |bytes| format!("{:.1} KiB", bytes / KIB)),
                met: self.bytes_per_socket.map(|bytes| bytes <= 6.0 * KIB),
            },
        ];
        if let [first, .., last] = self.steps.as_slice() {
            let growth = last.quiet.redis.operations / first.quiet.redis.operations;
            goals.push(goal(
                "P7",
                "Redis operations, most ÷ fewest watchers",
                "the same",
                format!("{growth:.2}"),
                growth <= SAME,
            ));
            if let (Some(few), Some(many)) =
                (first.quiet.micros_per_frame(), last.quiet.micros_per_frame())
            {
                let grown = many / few;
                let what = "CPU by watcher and tick, most ÷ fewest";
                goals.push(goal("P11", what, "≤ 1.3", format!("{grown:.2}"), grown <= SAME));
            }
        }
        goals
    }

    fn of_freshness(&self) -> Vec<Goal> {
        let freshness = &self.stirred.freshness;
        let one = |what, ages: Option<&AgeSummary>, wanted: &str, limit_ms| Goal {
            id: "P8",
            what,
            wanted: wanted.into(),
            measured: ages.map_or("nobody".into(), |ages| format!("{} ms", ages.p99_ms)),
            met: ages.map(|ages| ages.p99_ms <= limit_ms),
        };
        vec![
            one("age of a number, front 1 %, p99", freshness.front.as_ref(), "≤ 1 s", 1_000),
            one("age of a number, everyone, p99", freshness.everyone.as_ref(), "≤ 10 s", 10_000),
        ]
    }
}

fn goal(id: &'static str, what: &'static str, wanted: &str, measured: String, met: bool) -> Goal {
    Goal { id, what, wanted: wanted.into(), measured, met: Some(met) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of people and milliseconds of a run")]
pub(super) fn float(n: u64) -> f64 {
    n as f64
}
