//! The figures of a run.

use std::time::Duration;

use loadtest::{
    stampede::{Counts, Joined},
    times::Latency,
};
use platform::number::float;
use serde::Serialize;

use crate::{admission::AdmissionRate, freshness::Summary, line_probe::Load};

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) watchers: usize,
    pub(crate) nodes: usize,
    pub(crate) stampedes: usize,
    pub(crate) steps: Vec<Step>,
    /// Resident memory that the nodes took for the sockets, per socket.
    pub(crate) bytes_per_socket: Option<f64>,
    pub(crate) stirred: Stirred,
    pub(crate) counts: Counts,
}

/// A step: a fixed number of watchers, who leave only by admission.
#[derive(Serialize)]
pub(crate) struct Step {
    /// Sockets open at once before admission begins.
    pub(crate) watching: u64,
    pub(crate) joins: Joins,
    pub(crate) quiet: Stretch,
}

/// Joins as fast as they were answered.
#[derive(Serialize)]
pub(crate) struct Joins {
    pub(crate) joined: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Calls of the join script per second that Redis answers one by one, measured just before.
    pub(crate) redis_alone_per_second: f64,
    pub(crate) meanwhile: Stretch,
}

/// The stretch in which visitors came, left, lost connections, and were admitted at the full rate.
#[derive(Serialize)]
pub(crate) struct Stirred {
    pub(crate) arrived: u64,
    pub(crate) rate: f64,
    pub(crate) burst: i32,
    pub(crate) stretch: Stretch,
    pub(crate) admission: AdmissionRate,
    pub(crate) freshness: Summary,
}

/// The load over a stretch of time.
#[derive(Default, Serialize)]
pub(crate) struct Stretch {
    pub(crate) seconds: f64,
    pub(crate) watching_at_first: u64,
    pub(crate) watching_at_last: u64,
    pub(crate) left: u64,
    pub(crate) reconnected: u64,
    pub(crate) frames_per_second: f64,
    pub(crate) redis: Load,
    /// Cores that the nodes kept busy; `None` where the system does not tell.
    pub(crate) node_cores: Option<f64>,
    /// Cores that the visitors kept busy.
    pub(crate) stampede_cores: Option<f64>,
}

impl Joins {
    /// The joins of all stampedes together.
    pub(crate) fn of(told: Vec<Joined>, redis_alone_per_second: f64, meanwhile: Stretch) -> Self {
        let from = told.iter().map(|joined| joined.from_ms).min().unwrap_or(0);
        let until = told.iter().map(|joined| joined.until_ms).max().unwrap_or(0);
        let took: Vec<u32> = told.into_iter().flat_map(|joined| joined.took_micros).collect();
        let joined = took.len();
        let seconds = float(until.saturating_sub(from).max(1)) / 1000.0;
        let micros = |took| Duration::from_micros(u64::from(took));
        let latency = Latency::of(took.into_iter().map(micros));
        let ms = |of: fn(&Latency) -> Duration| {
            latency.as_ref().map_or(0.0, |latency| of(latency).as_secs_f64() * 1000.0)
        };
        Self {
            joined,
            per_second: float(joined) / seconds,
            p50_ms: ms(|latency| latency.p50),
            p99_ms: ms(|latency| latency.p99),
            redis_alone_per_second,
            meanwhile,
        }
    }

    /// Joins per second over calls per second that Redis alone answers.
    pub(crate) fn ratio(&self) -> f64 {
        self.per_second / self.redis_alone_per_second
    }
}

impl Stretch {
    /// Processor time of the nodes per frame, in microseconds.
    pub(crate) fn micros_per_frame(&self) -> Option<f64> {
        let cores = self.node_cores?;
        (self.frames_per_second > 0.0 && cores > 0.0).then(|| cores * 1e6 / self.frames_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_of_several_processes_are_counted_from_the_first_to_the_last() {
        let joined = |from_ms, until_ms, took_micros| Joined { from_ms, until_ms, took_micros };
        let told =
            vec![joined(1_000, 2_000, vec![1_000; 100]), joined(1_500, 3_000, vec![1_000, 9_000])];
        let joins = Joins::of(told, 102.0, Stretch::default());
        assert_eq!(joins.joined, 102);
        assert!((joins.per_second - 51.0).abs() < 1e-9);
        assert!((joins.ratio() - 0.5).abs() < 1e-9);
        assert!((joins.p50_ms - 1.0).abs() < 1e-9 && (joins.p99_ms - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_frame_or_an_account_nothing_is_known_of_its_cost() {
        let stretch = |frames_per_second, node_cores| Stretch {
            frames_per_second,
            node_cores,
            ..Stretch::default()
        };
        assert_eq!(stretch(1_000.0, Some(0.05)).micros_per_frame(), Some(50.0));
        assert_eq!(stretch(0.0, Some(0.05)).micros_per_frame(), None);
        assert_eq!(stretch(1_000.0, Some(0.0)).micros_per_frame(), None);
        assert_eq!(stretch(1_000.0, None).micros_per_frame(), None);
    }
}
