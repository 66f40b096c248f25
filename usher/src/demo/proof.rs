//! What the sale came to: from the visitors' side, and from the database.

use std::{process::ExitCode, time::Duration};

use contract::ShowId;
use loadtest::{Journal, Report, tally::Ending};
use store::Pool;
use tokio::time::{Instant, sleep};

use super::premiere::Premiere;
use crate::audit::table;

/// Lapsed seats are free, and events published, well within this after the last visitor.
const QUIET_WAIT: Duration = Duration::from_secs(15);

/// Prints the report and the audit; success when no promise was broken.
pub(super) async fn print(
    pool: &Pool,
    premiere: &Premiere,
    report: &Report,
    journal: &Journal,
) -> anyhow::Result<ExitCode> {
    let mut report = report.clone();
    report.recheck = Some(journal.recheck().await);
    report.outcomes = journal.outcomes();
    report.room = Some(premiere.room.clone());
    let audit = settled(pool, premiere.show, journal).await?;
    println!("\n{report}\n{}", table(&audit));
    let tickets = report.endings.get(&Ending::Ticket).copied().unwrap_or_default();
    if tickets == 0 {
        println!("NOBODY GOT A TICKET: see what visitors met above");
    }
    if report.broken_promises() > 0 {
        println!("PROMISES BROKEN: {}", report.broken_promises());
    }
    let failed = report.failed();
    if failed > 0 {
        println!("{failed} visitors could not go on: see FAILED above");
    }
    // A sale in which more than one in a hundred visitors failed has shown nothing.
    let worked = tickets > 0 && failed * 100 <= report.visitors;
    let kept = audit.is_clean() && report.broken_promises() == 0 && worked;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The audit once events have gone out; what is not clean by then stays so.
async fn settled(
    pool: &Pool,
    show: ShowId,
    journal: &Journal,
) -> anyhow::Result<store::audit::Audit> {
    let accepted = journal.ids();
    let until = Instant::now() + QUIET_WAIT;
    loop {
        let audit = store::audit::audit(pool, Some(show), &accepted).await?;
        if audit.is_clean() || Instant::now() > until {
            return Ok(audit);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
