//! The k6 scripts: what they read is explained, and k6 of every version from 1.1 on can run them.

use std::{collections::BTreeSet, path::PathBuf};

/// Scripts that are run; the others are parts of them.
const RUN: [&str; 4] = ["bookings", "browse", "flash-sale", "soak"];
/// What k6 2.0 has no more.
const GONE: [&str; 4] =
    ["externally-controlled", "--no-summary", "summary-mode=legacy", "k6/experimental/redis"];
/// In 1.1 the sockets are an experiment, from 1.6 on they are not.
const SHIM: &str = "require('k6/experimental/websockets')";

#[test]
fn no_script_uses_what_a_version_of_k6_lacks() {
    let mut n_shims = 0;
    for (name, text) in scripts() {
        for gone in GONE {
            assert!(!text.contains(gone), "{name}: {gone} is gone in k6 2.0");
        }
        n_shims += text.matches(SHIM).count();
        let experiments = text.matches("k6/experimental/").count();
        assert_eq!(experiments, text.matches(SHIM).count(), "{name}: an experiment of k6");
    }
    assert_eq!(n_shims, 1, "one place knows both names of the sockets");
}

#[test]
fn every_script_explains_its_settings_and_can_fail() {
    let scripts = scripts();
    for name in RUN {
        let file = format!("{name}.js");
        let (_, text) = scripts.iter().find(|(name, _)| *name == file).expect("it is there");
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//")).collect();
        let head = head.join("\n");
        for setting in settings(text) {
            assert!(head.contains(&setting), "{file}: its head does not explain {setting}");
        }
        for part in ["thresholds: {", "handleSummary"] {
            assert!(text.contains(part), "{file} has no {part}");
        }
    }
}

/// Settings that a script reads itself.
fn settings(text: &str) -> BTreeSet<String> {
    let mut settings = BTreeSet::new();
    for (before, end) in [("__ENV.", None), ("count('", Some('\'')), ("seconds('", Some('\''))] {
        for (at, _) in text.match_indices(before) {
            let name: String = text[at + before.len()..]
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                .collect();
            let ends = text[at + before.len() + name.len()..].chars().next();
            if !name.is_empty() && end.is_none_or(|end| ends == Some(end)) {
                settings.insert(name);
            }
        }
    }
    settings
}

fn scripts() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../loadtest/k6");
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "js") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            scripts.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    assert!(scripts.len() >= RUN.len());
    scripts
}
