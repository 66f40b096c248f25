//! The k6 scripts: what they read is explained, k6 of every version from 1.1 on can run them, and
//! what they ask for is what a running system answers.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use contract::{ShowId, api::catalogue::RoomMode};
use tokio::task::spawn_blocking;

use crate::harness::{Plan, System};

/// Scripts that are run; the others are parts of them.
const RUN: [&str; 4] = ["bookings", "browse", "flash-sale", "soak"];
/// What k6 2.0 has no more.
const GONE: [&str; 4] =
    ["externally-controlled", "--no-summary", "summary-mode=legacy", "k6/experimental/redis"];
/// In 1.1 the sockets are an experiment, from 1.6 on they are not.
const SHIM: &str = "require('k6/experimental/websockets')";
/// Exit codes: of k6 where a threshold does not hold, and of `./dev k6` where k6 cannot be installed.
const THRESHOLD: i32 = 99;
const CANNOT_BE_HAD: i32 = 69;

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

/// Thresholds on times may fail here, since the machine is busy.
#[tokio::test(flavor = "multi_thread")]
async fn every_script_runs_to_its_end_against_a_system() {
    let system = System::start_with_arguments(&["--auth-per-minute=1000000"]).await;
    let url = format!("http://{}", system.address);
    let open = system.show(Plan { rows: 20, seats: 30, ..Plan::default() }).await;
    let with_line = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let run = |name, show: ShowId, settings: &'static [(&str, &str)]| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev"));
        command.args(["k6", name]).envs(settings.iter().copied());
        command.env("BASE_URL", &url).env("SHOW", show.to_string());
        spawn_blocking(move || (name, command.output().unwrap()))
    };
    // Alone, since the first one installs k6.
    let first = run("browse", open, &[("RATE", "5"), ("DURATION", "3s")]).await.unwrap();
    if first.1.status.code() == Some(CANNOT_BE_HAD) {
        #[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
        let in_ci = env::var("NEXTEST_PROFILE").as_deref() == Ok("ci");
        assert!(!in_ci, "k6 must be there in CI");
        eprintln!("SKIPPED: k6 cannot be installed here");
        return;
    }
    let (bookings, flash_sale, soak) = tokio::join!(
        run("bookings", open, &[("RATE", "5"), ("DURATION", "3s"), ("USERS", "3")]),
        run("flash-sale", with_line, &[("VISITORS", "10"), ("DURATION", "3s")]),
        run("soak", open, &[("RATE", "2"), ("DURATION", "28s"), ("USERS", "4")]),
    );
    for (name, ran) in [first, bookings.unwrap(), flash_sale.unwrap(), soak.unwrap()] {
        ran_to_its_end(name, &ran);
    }
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

fn ran_to_its_end(name: &str, ran: &Output) {
    let said = [&ran.stdout[..], &ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let code = ran.status.code();
    assert!([Some(0), Some(THRESHOLD)].contains(&code), "{name} ended with {code:?}: {said}");
    let ended = said.contains("all thresholds hold") || said.contains("thresholds do not hold");
    assert!(ended, "{name} has no summary: {said}");
    for line in said.lines().filter(|line| line.trim_start().starts_with("FAILED")) {
        let of_times = line.contains(": p(95)<") || line.contains("_growth: value<");
        assert!(of_times, "{name}: {line}\n{said}");
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
