//! The command that brings the schema up to date.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

/// Brings the schema up to date.
#[derive(Args)]
pub struct Migrate {
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl Migrate {
    /// Migrates and prints each step.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        run(&self.database_url).await?;
        println!("the schema is up to date");
        Ok(ExitCode::SUCCESS)
    }
}

/// Applies the missing migrations and prints each step. The sale goes on meanwhile. If several
/// processes try at once, one of them migrates.
pub async fn run(database_url: &str) -> anyhow::Result<()> {
    store::migrate(database_url, &|line| println!("  {line}")).await.context(
        "the schema cannot be brought up to date: is PostgreSQL running, and DATABASE_URL right?",
    )
}
