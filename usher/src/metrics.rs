//! `docs/metrics.md`: every metric with its meaning, from the tables of the crates.

use std::fmt::Write as _;

use platform::telemetry::Metric;

/// The tables, by the folder of their crate.
pub const TABLES: [(&str, &[Metric]); 6] = [
    ("ingress", ingress::metrics::METRICS),
    ("waiting-room", waiting_room::metrics::METRICS),
    ("allocator", allocator::metrics::METRICS),
    ("notifier", notifier::metrics::METRICS),
    ("store", store::metrics::METRICS),
    ("platform", platform::metrics::METRICS),
];

/// The text of `docs/metrics.md`.
#[must_use]
pub fn text() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Written by `usher metrics`; kept in step by a test. Every process serves its metrics at\n\
         `/metrics` (`USHER_METRICS_LISTEN`), with these meanings as HELP. `store` and `platform` are\n\
         measured by every service. What to watch is in [operations.md](operations.md).\n",
    );
    for (folder, metrics) in TABLES {
        let _ = writeln!(
            text,
            "\n## {folder}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|"
        );
        for Metric { kind, name, labels, meaning } in metrics {
            let (kind, labels) = (format!("{kind:?}").to_lowercase(), labels.join(", "));
            let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {meaning} |");
        }
    }
    text
}
