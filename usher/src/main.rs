//! `usher`: the command line. Each command is a module of the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use usher::{admins, audit, demo, healthcheck, keys, migrate, seed, up};

/// Sells seats when everybody comes at once.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every service in this process, on one port.
    Up(Box<up::Up>),
    /// Bring the database's schema up to date.
    Migrate(migrate::Migrate),
    /// Fill a running system with a believable catalogue, or with accounts for a load test.
    Seed(seed::Seed),
    /// Run a flash sale from end to end, with the services in this process, and prove its result.
    Demo(Box<demo::Demo>),
    /// Change the keys that sign passes.
    Keys(keys::Keys),
    /// Make, show and remove administrators.
    Admin(admins::Admins),
    /// Count broken promises; exit 0 if there are none, 1 if there are some, 2 if it failed.
    Audit(audit::Audit),
    /// Print every setting with its meaning and default, as in .env.example.
    Settings,
    /// Print every metric with its meaning, as in docs/metrics.md.
    Metrics,
    /// Ask a URL; exit 0 when it answers 200.
    Healthcheck(healthcheck::Healthcheck),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ran = match Cli::parse().command {
        Command::Up(up) => Ok(up.run().await),
        Command::Migrate(migrate) => migrate.run().await,
        Command::Seed(seed) => seed.run().await,
        Command::Demo(demo) => Ok(Box::pin(demo.run()).await),
        Command::Keys(keys) => keys.run().await,
        Command::Admin(admins) => admins.run().await,
        Command::Audit(audit) => Ok(audit.run().await),
        Command::Settings => {
            print!("{}", usher::example::text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics => {
            print!("{}", usher::metrics::text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Healthcheck(healthcheck) => Ok(healthcheck.run().await),
    };
    ran.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
