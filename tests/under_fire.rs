//! A part of `./dev chaos`, small enough for every run of the tests. The goal for the time until
//! everything is decided is checked there, on a quiet machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nemesis::{
    control, failpoints, rare, report,
    run::{Installation, Script},
    sale::Halls,
};

const LENGTH: Duration = Duration::from_secs(14);
const SEATS: u32 = 80;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;
/// Most rounds, since a fault may miss its target.
const ROUNDS_MAX: u64 = 3;

/// The folder of a test's logs and histories, which stay when the test fails.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("under-fire").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sold_twice_lost_invented_or_changed_whatever_dies() {
    let folder = folder("seeds");
    let installation = Installation::open(&folder, false, &[]).await.expect("it starts");
    let mut red = Vec::new();
    for seed in SEEDS {
        let script = Script::drawn(seed, LENGTH, SEATS, false);
        let verdict = installation.run(&script).await.expect("it runs");
        eprintln!("{}", report::line(&verdict));
        if !verdict.is_right() {
            red.push(seed);
        }
    }
    let rare = installation.rare.counts();
    eprintln!("{}", report::rare_paths(&rare));
    installation.close().await.expect("it stops");
    assert!(red.is_empty(), "./dev chaos --short --seed {}; see {}", red[0], folder.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rare_path_is_taken_and_nothing_comes_of_it() {
    let folder = folder("rare-paths");
    let installation = Installation::open(&folder, false, &[]).await.expect("it starts");
    let (length, halls) = (rare::ALL_TAKE, Halls::Several);
    let mut untaken = installation.rare.missing();
    for seed in 1..=ROUNDS_MAX {
        let script = Script { seed, length, seats: SEATS, halls, faults: rare::faults() };
        let verdict = installation.run(&script).await.expect("it runs");
        eprintln!("{}", report::line(&verdict));
        assert!(verdict.is_right(), "see {}", folder.display());
        untaken = installation.rare.missing();
        if untaken.is_empty() {
            break;
        }
        eprintln!("not taken yet: {untaken:?}");
    }
    eprintln!("{}", report::rare_paths(&installation.rare.counts()));
    installation.close().await.expect("it stops");
    assert!(untaken.is_empty(), "never taken: {untaken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hand_off_may_be_the_last_thing_a_process_does() {
    let folder = folder("failpoints");
    let print = |aborted: &failpoints::Aborted| {
        eprintln!("{} {}", aborted.failpoint, report::line(&aborted.verdict));
    };
    let results = failpoints::run(&folder, &failpoints::ALL, print).await.expect("they run");
    let broken: Vec<&str> = results.iter().filter(|r| !r.is_right()).map(|r| r.failpoint).collect();
    assert!(broken.is_empty(), "{broken:?} were not reached or do not hold: {}", folder.display());
}

/// Checks that the damage is found if a guarantee is missing.
async fn damage_is_found(name: &str) {
    let control = control::named(name).expect("it exists");
    assert!(!control.found.is_empty(), "a control that must stay green may not be tried again");
    let mut found = Ok(());
    for seed in 1..=ROUNDS_MAX {
        let verdict = control::run(control, &folder(name), seed).await.expect("it runs");
        eprintln!("{}", report::line(&verdict));
        found = control::is_as_expected(control, &verdict);
        if found.is_ok() {
            break;
        }
    }
    found.expect("the damage is found");
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_before_the_commit_are_found_out() {
    damage_is_found("ack-after-commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_unique_index_is_found_out() {
    damage_is_found("unique-index").await;
}
