//! `./dev chaos`: sales under fire; a seed repeats the same run.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use nemesis::{
    control, failpoints, rehearsal, report,
    run::{Installation, Script, Verdict},
    schedule,
};

/// Length of a short run, enough for half a dozen faults.
const SHORT: Duration = Duration::from_secs(14);
const SHORT_SEATS: u32 = 80;
/// From this number of runs on, every rare path must have been taken, or the suite fails.
const SUITE: u64 = 50;

/// Sells under fire and checks that nothing was sold twice, lost, invented or changed.
#[derive(Parser)]
struct Settings {
    /// Seed of the faults, the buyers and their wishes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of runs over the same services, with seeds counted from --seed.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Minutes in which buyers come and faults happen.
    #[arg(long, default_value_t = 3.0, conflicts_with = "short")]
    minutes: f64,
    /// Make runs of 14 seconds.
    #[arg(long)]
    short: bool,
    /// Take a guarantee away, so that the checks must find the damage; `all` does each in turn.
    #[arg(long, conflicts_with_all = ["failpoints", "cluster"])]
    control: Option<String>,
    /// Abort a process at every hand-off, one by one.
    #[arg(long)]
    failpoints: bool,
    /// Use three brokers in network namespaces, killed and cut off from each other (needs root).
    #[arg(long)]
    cluster: bool,
    /// Upgrade from the build in this folder, roll back, and upgrade again, while tickets are sold.
    #[arg(long, conflicts_with_all = ["control", "failpoints", "cluster", "short"])]
    upgrade_from: Option<PathBuf>,
    /// Bookings of past sales to put into the database first, with a tenth as many accounts.
    #[arg(long, default_value_t = 0, requires = "upgrade_from")]
    archived: u32,
    /// Folder for logs and histories.
    #[arg(long, default_value = ".dev/chaos")]
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    let folder = std::path::absolute(&settings.folder)?;
    if let Some(name) = &settings.control {
        return controls(name, &folder, settings.seed).await;
    }
    if let Some(before) = &settings.upgrade_from {
        return rehearse(&folder, before, &settings).await;
    }
    if settings.failpoints {
        return aborts(&folder).await;
    }
    seeds(&settings, &folder).await
}

async fn seeds(settings: &Settings, folder: &std::path::Path) -> anyhow::Result<ExitCode> {
    let (length, seats) = if settings.short {
        (SHORT, SHORT_SEATS)
    } else {
        let length = Duration::from_secs_f64(settings.minutes * 60.0);
        (length, u32::try_from(length.as_secs())?.clamp(SHORT_SEATS, 300))
    };
    let installation = Installation::open(folder, settings.cluster, &[]).await?;
    let mut verdicts: Vec<Verdict> = Vec::new();
    for seed in settings.seed..settings.seed + settings.seeds {
        let script = Script::drawn(seed, length, seats, settings.cluster);
        let verdict = installation.run(&script).await?;
        println!("{}", report::line(&verdict));
        verdicts.push(verdict);
    }
    println!(
        "\n{}\n{}",
        report::faults(&verdicts),
        report::rare_paths(&installation.rare.counts())
    );
    let alone = installation.fleet.ended_alone();
    println!("services that ended by themselves and were started again: {alone}");
    let mut untaken =
        if settings.seeds >= SUITE { installation.rare.missing() } else { Vec::new() };
    let has_clocks = installation.arena.has_clocks();
    installation.close().await?;
    if settings.seeds >= SUITE {
        let is_done = |kind: &str| verdicts.iter().any(|verdict| verdict.faults.contains_key(kind));
        let undone = schedule::CHOSEN.into_iter().filter(|kind| !is_done(kind));
        untaken.extend(undone.filter(|kind| has_clocks || !kind.starts_with("step the clock")));
    }
    if !has_clocks {
        println!("SKIPPED: no clock was stepped, as faketime is missing");
    }
    if !untaken.is_empty() {
        println!("RED: never taken: {}", untaken.join(", "));
    }
    let red: Vec<String> = verdicts
        .iter()
        .filter(|verdict| !verdict.is_green())
        .map(|verdict| verdict.seed.to_string())
        .collect();
    println!("{} of {} green", verdicts.len() - red.len(), verdicts.len());
    if red.is_empty() {
        return Ok(if untaken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let how =
        if settings.short { "--short".into() } else { format!("--minutes {}", settings.minutes) };
    let how = if settings.cluster { format!("{how} --cluster") } else { how };
    println!("RED: seeds {}", red.join(", "));
    println!(
        "again: ./dev chaos --seed {} {how}   logs and histories: {}",
        red[0],
        folder.display()
    );
    Ok(ExitCode::FAILURE)
}

/// Runs controls. Exits 1 if the damage was found, since a control is meant to fail.
async fn controls(name: &str, folder: &std::path::Path, seed: u64) -> anyhow::Result<ExitCode> {
    let wanted: Vec<&control::Control> = match name {
        "all" => control::ALL.iter().collect(),
        name => vec![control::named(name)?],
    };
    let mut worst = ExitCode::SUCCESS;
    let all = wanted.len() > 1;
    for control in wanted {
        println!("control {}: {}", control.name, control.what);
        let verdict = control::run(control, &folder.join(control.name), seed).await?;
        println!("{}", report::line(&verdict));
        match control::is_as_expected(control, &verdict) {
            Ok(()) => println!("as expected: {}", control.expects()),
            Err(error) => {
                println!("NOT AS EXPECTED: {error}");
                worst = ExitCode::from(2);
            }
        }
        if !all && !verdict.is_green() && worst == ExitCode::SUCCESS {
            worst = ExitCode::FAILURE;
        }
    }
    Ok(worst)
}

async fn aborts(folder: &std::path::Path) -> anyhow::Result<ExitCode> {
    let results = failpoints::run(folder, &failpoints::ALL, |aborted| {
        let reached = if aborted.was_reached { "" } else { "  NOT REACHED" };
        println!("{:<16} {}{reached}", aborted.failpoint, report::line(&aborted.verdict));
    })
    .await?;
    let held = results.iter().filter(|aborted| aborted.is_green()).count();
    println!("{held} of {} hand-offs hold", results.len());
    Ok(if held == results.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn rehearse(
    folder: &std::path::Path,
    before: &std::path::Path,
    settings: &Settings,
) -> anyhow::Result<ExitCode> {
    let before = std::path::absolute(before)?;
    let verdict = rehearsal::run(folder, &before, settings.seed, settings.archived).await?;
    println!("{}\n{}", report::faults(std::slice::from_ref(&verdict)), report::line(&verdict));
    let longest = verdict.longest_wait.context("no booking was decided")?;
    let (took, at_most) = (longest.took, rehearsal::PAUSE_MAX);
    let is_short = took <= at_most;
    let word = if is_short { "met" } else { "MISSED" };
    println!(
        "longest wait for a decision: {took:.1?}, since {} (goal R9: {at_most:?}, {word})",
        longest.since.format("%H:%M:%S%.3fZ"),
    );
    Ok(if verdict.is_green() && is_short { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
