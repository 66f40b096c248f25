//! The command that audits: counts broken promises in the database.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use contract::{BookingId, ShowId};
use loadtest::report::row;
use tokio::time::Instant;

/// How often a long audit prints that it goes on.
const TELL_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// Counts violations of what Usher promises, on an installation of any size. Exits 0 if there are
/// none, 1 if there are some, 2 if they could not be counted.
#[derive(Args)]
pub struct Audit {
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Audit this show only.
    #[arg(long)]
    show: Option<ShowId>,
    /// File with ids of accepted bookings, one per line, as `loadtest --accepted` writes it.
    #[arg(long)]
    accepted: Option<PathBuf>,
}

impl Audit {
    /// Audits and prints the table.
    pub async fn run(self) -> ExitCode {
        match self.count().await {
            Ok(audit) => {
                print!("{}", table(&audit));
                if audit.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                eprintln!("error: the audit could not be finished and says nothing: {error:#}");
                ExitCode::from(2)
            }
        }
    }

    async fn count(&self) -> anyhow::Result<store::audit::Audit> {
        let accepted = match &self.accepted {
            None => Vec::new(),
            Some(path) => read_ids(path)?,
        };
        let pool = store::connect_patiently(&self.database_url, "audit")?;
        let audit = store::audit::audit(&pool, self.show, &accepted);
        let (mut audit, began) = (std::pin::pin!(audit), Instant::now());
        loop {
            match tokio::time::timeout(TELL_EVERY, audit.as_mut()).await {
                Ok(audit) => return Ok(audit?),
                Err(_) => eprintln!("still counting, {} s", began.elapsed().as_secs()),
            }
        }
    }
}

/// The audit as lines of a table.
#[must_use]
pub fn table(audit: &store::audit::Audit) -> String {
    let mut text = String::from("Audit, from the database\n");
    for (name, count) in audit.findings() {
        // Writing to a string does not fail.
        let _ = row(&mut text, name, count);
    }
    for (partition, count) in &audit.accepted_and_lost {
        let _ = writeln!(text, "  lost in {partition}: {count}");
    }
    let verdict = if audit.is_clean() { "clean" } else { "NOT CLEAN" };
    let _ = writeln!(text, "  {verdict}");
    text
}

fn read_ids(path: &std::path::Path) -> anyhow::Result<Vec<BookingId>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.split_whitespace()
        .map(|id| id.parse().with_context(|| format!("`{id}` is not a booking id")))
        .collect()
}
