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

/// Forgets the series of shows of which nothing was heard for long; for processes that nobody asks.
pub(crate) fn tidy() {
    if let Some(Telemetry { series, .. }) = STARTED.get() {
        series.tidy();
    }
}

/// Writes what was logged and is not written yet. Nothing is logged afterwards.
pub(crate) fn flush() {
    if let Some(Telemetry { logs, .. }) = STARTED.get() {
        logs.flush();
    }
}
