//! Metrics. The series of a show end with the show: a gauge soon after it was last set, a counter
//! after an hour without change. All other series last as long as the process.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_util::MetricKindMask;

/// Upper bounds of the latency histograms, in seconds.
const SECONDS_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The label by which a series belongs to a show.
const SHOW: &str = "show";
/// A show's gauge that is not set for this long is removed. A live one is set about every second.
const GAUGE_IDLE: Duration = Duration::from_secs(30);
/// A show's counter that does not change for this long is removed. Even a quiet sale counts
/// something now and then.
const COUNT_IDLE: Duration = Duration::from_hours(1);

/// Renders the metrics.
pub(super) struct Series {
    lasting: PrometheusHandle,
    of_shows: [PrometheusHandle; 2],
}

impl Series {
    /// Installs the recorder of this process.
    pub(super) fn start() -> Self {
        let (recorder, series) = recorder(GAUGE_IDLE, COUNT_IDLE);
        metrics::set_global_recorder(recorder).expect("the recorder is installed once, here");
        series
    }

    pub(super) fn render(&self) -> String {
        self.lasting.run_upkeep();
        let of_shows = self.of_shows.iter().map(PrometheusHandle::render);
        std::iter::once(self.lasting.render()).chain(of_shows).collect()
    }

    /// Rendering removes old series.
    pub(super) fn tidy(&self) {
        for handle in &self.of_shows {
            _ = handle.render();
        }
    }
}

fn recorder(gauge_idle: Duration, count_idle: Duration) -> (ByShow, Series) {
    let build = |idle: Option<Duration>| {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)
            .expect("the buckets are not empty")
            .idle_timeout(MetricKindMask::ALL, idle)
            .build_recorder()
    };
    let by_show = ByShow {
        lasting: build(None),
        gauges_of_shows: build(Some(gauge_idle)),
        counts_of_shows: build(Some(count_idle)),
    };
    let series = Series {
        lasting: by_show.lasting.handle(),
        of_shows: [by_show.gauges_of_shows.handle(), by_show.counts_of_shows.handle()],
    };
    (by_show, series)
}

/// Records in one of three places, which keep series for different times.
struct ByShow {
    lasting: PrometheusRecorder,
    gauges_of_shows: PrometheusRecorder,
    counts_of_shows: PrometheusRecorder,
}

impl ByShow {
    fn of<'a>(&'a self, key: &Key, of_show: &'a PrometheusRecorder) -> &'a PrometheusRecorder {
        if key.labels().any(|label| label.key() == SHOW) { of_show } else { &self.lasting }
    }

    fn all(&self) -> [&PrometheusRecorder; 3] {
        [&self.lasting, &self.gauges_of_shows, &self.counts_of_shows]
    }
}

impl Recorder for ByShow {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        for recorder in self.all() {
            recorder.describe_counter(key.clone(), unit, description.clone());
        }
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        for recorder in self.all() {
            recorder.describe_gauge(key.clone(), unit, description.clone());
        }
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        for recorder in self.all() {
            recorder.describe_histogram(key.clone(), unit, description.clone());
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.of(key, &self.counts_of_shows).register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.of(key, &self.gauges_of_shows).register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.of(key, &self.counts_of_shows).register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Renders the metrics until `is_so`, for 20 s at most.
    fn eventually(series: &Series, mut is_so: impl FnMut(&str) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so(&series.render()) {
            assert!(Instant::now() < end, "{}", series.render());
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_series_of_a_show_end_with_it_and_others_last() {
        let (recorder, series) = recorder(Duration::from_millis(50), Duration::from_hours(1));
        let one = || metrics::gauge!("waiting", "show" => "one").set(7.0);
        let another = || metrics::gauge!("waiting", "show" => "another").set(8.0);
        metrics::with_local_recorder(&recorder, || {
            metrics::gauge!("connections").set(3.0);
            metrics::counter!("accepted_total", "show" => "one").increment(2);
            another();
            one();
            eventually(&series, |text| {
                // The gauge of show "one" is still set, so it stays; the other ends.
                one();
                assert!(text.contains("waiting{show=\"one\"} 7"), "{text}");
                !text.contains("another")
            });
            another();
        });
        let text = series.render();
        assert!(text.contains("waiting{show=\"another\"} 8"), "back with its line: {text}");
        assert!(text.contains("connections 3"), "{text}");
        assert!(text.contains("accepted_total{show=\"one\"} 2"), "{text}");
    }

    #[test]
    fn the_counts_of_a_show_end_too_when_nothing_is_counted_any_more() {
        let (recorder, series) = recorder(Duration::from_hours(1), Duration::from_millis(20));
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("accepted_total", "show" => "one").increment(2);
            metrics::histogram!("decide_seconds", "show" => "one").record(0.1);
            metrics::counter!("accounts_total").increment(1);
        });
        eventually(&series, |text| !text.contains("one"));
        assert!(series.render().contains("accounts_total 1"));
    }

    #[test]
    fn a_series_says_what_it_means_also_where_it_belongs_to_a_show() {
        let (recorder, series) = recorder(GAUGE_IDLE, COUNT_IDLE);
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_gauge!("waiting", "Visitors in the line.");
            metrics::describe_counter!("accepted_total", "Bookings accepted.");
            metrics::gauge!("waiting", "show" => "one").set(7.0);
            metrics::counter!("accepted_total", "show" => "one").increment(1);
        });
        let text = series.render();
        assert!(text.contains("# HELP waiting Visitors in the line."), "{text}");
        assert!(text.contains("# HELP accepted_total Bookings accepted."), "{text}");
    }
}
