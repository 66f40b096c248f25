//! The command that seeds a catalogue, an admin, and accounts for a load test. Seeding again adds
//! only what is missing.

mod admin;
mod accounts;
mod catalogue;
mod films;
mod houses;
pub mod hall;
pub mod shows;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use contract::keys::MasterKey;
use loadtest::Client;

pub use accounts::tokens;
pub use admin::Admin;
pub use catalogue::{Catalogue, catalogue, upcoming};

/// Fills a running system.
#[derive(Args)]
pub struct Seed {
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The installation's master key.
    #[arg(long, env = "USHER_MASTER_KEY", hide_env_values = true)]
    master_key: String,
    /// URL of the running system.
    #[arg(long, env = "USHER_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Seats of the hall for premieres.
    #[arg(long, default_value_t = hall::PREMIERE_SEATS, value_parser = hall::seats)]
    seats: usize,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Accounts for a load test, with tokens instead of passwords.
    Accounts {
        /// How many.
        n: usize,
        /// File for their access tokens, one per line, which are valid for a day.
        #[arg(long)]
        tokens: PathBuf,
    },
}

impl Seed {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let master = MasterKey::parse(&self.master_key)?;
        let pool = store::connect(&self.database_url, "seed", 2)?;
        if let Some(What::Accounts { n, tokens: path }) = self.what {
            let tokens = tokens(&pool, &master, n).await?;
            accounts::write(&path, &tokens)?;
            println!("{n} accounts; their tokens are in {}", path.display());
            return Ok(ExitCode::SUCCESS);
        }
        let admin = Admin::ensure(&pool, &master, &Client::new(&self.url)?).await?;
        let made = catalogue(&admin.client, self.seats).await?;
        println!("{made}");
        println!("admin: {}  password: {}", admin.email, admin.password);
        println!("walk-in show, on sale without a line: {}", made.walk_in);
        Ok(ExitCode::SUCCESS)
    }
}
