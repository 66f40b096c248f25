//! Logs to standard error, metrics for Prometheus.

mod logs;
mod metric;
mod series;

use std::sync::OnceLock;

use crate::config::Process;
use logs::Logs;
pub use metric::{Kind, Metric, describe};
use series::Series;

struct Telemetry {
    logs: Logs,
    series: Series,
}

static STARTED: OnceLock<Telemetry> = OnceLock::new();

/// Starts logging and metrics for this process. A second call changes nothing.
pub fn init(process: &Process) {
    STARTED.get_or_init(|| Telemetry { logs: Logs::start(process), series: Series::start() });
    describe([crate::metrics::METRICS]);
}

/// Everything measured so far, in Prometheus's text format.
#[must_use]
pub fn render() -> String {
    let Some(Telemetry { logs, series }) = STARTED.get() else { return String::new() };
    metrics::counter!("usher_log_lines_dropped_total").absolute(logs.dropped());
    series.render()
}

/// Removes the metrics of shows that had no news for long, in processes whose metrics nobody reads.
pub(crate) fn tidy() {
    if let Some(Telemetry { series, .. }) = STARTED.get() {
        series.tidy();
    }
}

/// Writes the log lines that still wait. Later lines are lost.
pub(crate) fn flush() {
    if let Some(Telemetry { logs, .. }) = STARTED.get() {
        logs.flush();
    }
}
