//! The audit as a command: the database's own answer to whether every promise was kept.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use contract::{BookingId, ShowId};
use loadtest::report::row;

/// Counts what must never be; exits 1 unless all of it is zero.
#[derive(Args)]
pub struct Audit {
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// One show; all of them where it is absent.
    #[arg(long)]
    show: Option<ShowId>,
    /// Ids of bookings that clients were promised, one a line, as `loadtest --accepted` writes.
    #[arg(long)]
    accepted: Option<PathBuf>,
}

impl Audit {
    /// Audits and prints the table.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let accepted = match &self.accepted {
            None => Vec::new(),
            Some(path) => read_ids(path)?,
        };
        let pool = store::connect(&self.database_url, "audit", 1)?;
        let audit = store::audit::audit(&pool, self.show, &accepted).await?;
        print!("{}", table(&audit));
        Ok(if audit.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        .map(|id| id.parse().with_context(|| format!("`{id}` is no booking id")))
        .collect()
}
