//! The texts of the report.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::run::Verdict;

/// One line for one run, with its findings below it.
pub fn line(verdict: &Verdict) -> String {
    let Verdict { seed, faults, asked, accepted, allocated, unknown, converged, backends, .. } =
        verdict;
    let n_faults: u32 = faults.values().sum();
    let converged = converged.map_or("never".into(), |took| format!("{:.1} s", took.as_secs_f64()));
    let own = backends.as_secs_f64();
    let word = if verdict.is_green() { "green" } else { "RED" };
    let mut text = format!(
        "seed {seed:>4}  faults {n_faults:>3}  asked {asked:>5}  accepted {accepted:>5}  won {allocated:>4}  \
         unknown {unknown:>4}  converged {converged:>7} (backends {own:.1} s)  {word}"
    );
    if !verdict.is_green() {
        let _ = write!(text, "\n{}", verdict.findings);
    }
    text
}

/// How often each kind of fault was done.
pub fn faults(verdicts: &[Verdict]) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (kind, n) in verdicts.iter().flat_map(|verdict| &verdict.faults) {
        *counts.entry(kind).or_default() += n;
    }
    table("Faults", counts.into_iter().map(|(kind, n)| (kind.to_owned(), u64::from(n))))
}

/// How often each rare path was taken.
pub fn rare_paths(counts: &BTreeMap<String, u64>) -> String {
    table("Rare paths taken", counts.iter().map(|(path, n)| (path.clone(), *n)))
}

fn table(title: &str, rows: impl Iterator<Item = (String, u64)>) -> String {
    let mut text = format!("{title}\n");
    for (name, n) in rows {
        let _ = writeln!(text, "  {n:>6}  {name}");
    }
    text
}
