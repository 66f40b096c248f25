//! Every metric is in the table of its crate and in docs/metrics.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use platform::telemetry::Kind;
use usher::metrics;

/// The kind and the labels of each metric, by name.
type Metrics = BTreeMap<String, (Kind, BTreeSet<String>)>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn docs_metrics_says_what_the_tables_say() {
    let written = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    assert_eq!(written, metrics::text(), "run `usher metrics > docs/metrics.md`");
}

#[test]
fn every_crate_measures_what_is_in_its_table_and_nothing_else() {
    for (folder, table) in metrics::TABLES {
        let described: Metrics = table
            .iter()
            .map(|metric| {
                let labels = metric.labels.iter().map(ToString::to_string).collect();
                (metric.name.to_owned(), (metric.kind, labels))
            })
            .collect();
        assert_eq!(described.len(), table.len(), "{folder}: a metric is described twice");
        let mut measured = Metrics::new();
        find_in(&root().join(folder).join("src"), &mut measured);
        assert_eq!(measured, described, "{folder}/src beside {folder}/src/metrics.rs");
    }
}

fn find_in(folder: &Path, found: &mut Metrics) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_in(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for (word, kind) in [
                ("counter!(", Kind::Counter),
                ("gauge!(", Kind::Gauge),
                ("histogram!(", Kind::Histogram),
            ] {
                for (at, _) in text.match_indices(word) {
                    note(arguments(&text[at + word.len()..]), kind, found);
                }
            }
        }
    }
}

/// The text up to the parenthesis that closes.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.expect("a parenthesis closes")]
}

/// Notes a metric where it is recorded: first its name, then labels, each before an arrow.
fn note(arguments: &str, kind: Kind, found: &mut Metrics) {
    let mut literals = arguments.split('"').skip(1);
    let Some(name) = literals.next().filter(|name| name.starts_with("usher_")) else { return };
    let labels: BTreeSet<String> = arguments
        .rsplit("=>")
        .skip(1)
        .filter_map(|before| before.trim_end().strip_suffix('"')?.rsplit('"').next())
        .map(ToOwned::to_owned)
        .collect();
    let entry = found.entry(name.to_owned()).or_insert_with(|| (kind, labels.clone()));
    assert_eq!(*entry, (kind, labels), "{name} is measured in two ways");
}
