//! The command that rotates the keys that sign passes.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use contract::{deadline::PASS_LIFETIMES_MAX, keys::MasterKey};
use store::keys::Rotation;

/// Changes the keys that sign passes.
#[derive(Args)]
pub struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a new key, which signs after one minute; passes of the earlier key stay valid.
    Rotate(Rotate),
}

#[derive(Args)]
struct Rotate {
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The installation's master key.
    #[arg(long, env = "USHER_MASTER_KEY", hide_env_values = true)]
    master_key: String,
    /// Seconds an admission pass is valid; the same value as in the waiting room.
    #[arg(long, env = "USHER_PASS_SECONDS", default_value_t = 300)]
    pass_seconds: u32,
    /// Rotate even if passes of the key that is retired are still valid. After a leak, rotate
    /// twice.
    #[arg(long)]
    at_once: bool,
}

impl Keys {
    /// Runs the command and prints what follows from it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let What::Rotate(rotate) = self.what;
        let pool = store::connect(&rotate.database_url, "keys", 1)?;
        let master = MasterKey::parse(&rotate.master_key)?;
        let lifetime = Duration::from_secs(rotate.pass_seconds.into());
        let live = if rotate.at_once { Duration::ZERO } else { lifetime * PASS_LIFETIMES_MAX };
        Ok(match store::keys::rotate(&pool, &master, live).await? {
            Rotation::Rotated { kid } => {
                println!("the key {kid} signs after one minute");
                ExitCode::SUCCESS
            }
            Rotation::TooSoon { wait } => {
                eprintln!(
                    "passes of the key to retire are valid for {} s more; wait, or use --at-once",
                    wait.as_secs() + 1
                );
                ExitCode::FAILURE
            }
        })
    }
}
