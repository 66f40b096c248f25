//! Logs to standard error, metrics for Prometheus.

use std::{io::IsTerminal as _, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::Process;

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds of the latency histograms, in seconds.
const SECONDS_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Starts logging and metrics for this process. A second call changes nothing.
pub fn init(process: &Process) {
    METRICS.get_or_init(|| {
        let filter = EnvFilter::try_new(&process.log).unwrap_or_else(|_| EnvFilter::new("info"));
        let colours = std::io::stderr().is_terminal();
        let registry = tracing_subscriber::registry().with(filter);
        let started = if process.log_format == "json" {
            registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init()
        } else {
            registry.with(fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
        };
        if let Err(error) = started {
            eprintln!("logging was already started by somebody else: {error}");
        }
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)
            .expect("the buckets are not empty")
            .install_recorder()
            .expect("the recorder is installed once, here")
    });
}

/// Everything measured so far, in Prometheus's text format.
#[must_use]
pub fn render() -> String {
    METRICS
        .get()
        .map(|handle| {
            handle.run_upkeep();
            handle.render()
        })
        .unwrap_or_default()
}
