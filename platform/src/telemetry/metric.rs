//! What the metrics mean: one table per crate, told to Prometheus and written into `docs/metrics.md`.

/// One metric, as its crate's table has it.
pub struct Metric {
    pub kind: Kind,
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Tells the recorder of this process what these metrics mean.
pub fn describe<const N: usize>(tables: [&[Metric]; N]) {
    for Metric { kind, name, meaning, .. } in tables.into_iter().flatten() {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *meaning),
            Kind::Gauge => metrics::describe_gauge!(*name, *meaning),
            Kind::Histogram => metrics::describe_histogram!(*name, *meaning),
        }
    }
}

/// A crate's table of metrics, `METRICS`. A line has kind, name, labels and meaning.
#[macro_export]
macro_rules! metrics {
    ($($kind:ident $name:literal [$($label:ident),*] $meaning:literal;)*) => {
        pub const METRICS: &[$crate::telemetry::Metric] = &[$($crate::telemetry::Metric {
            kind: $crate::telemetry::Kind::$kind,
            name: $name,
            labels: &[$(stringify!($label)),*],
            meaning: $meaning,
        }),*];
    };
}
