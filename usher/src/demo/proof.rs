//! The result of the sale, from the visitors' side and from the database.

use std::{process::ExitCode, time::Duration};

use contract::{BookingId, ShowId};
use loadtest::Report;
use platform::number::float;
use store::Pool;
use tokio::time::{Instant, sleep};

use crate::audit::table;

/// Longest wait after the last visitor until lapsed seats are free and events are published.
const QUIET_WAIT: Duration = Duration::from_secs(15);

/// Prints the report and the audit; success when no promise was broken.
pub(super) async fn print(pool: &Pool, show: ShowId, report: &Report) -> anyhow::Result<ExitCode> {
    let audit = settled(pool, show, &report.accepted).await?;
    println!("\n{report}\n{}", table(&audit));
    let tickets = report.paid();
    if let Some(rate) = per_hour_and_core(tickets, report.took) {
        println!("Paid orders per hour and core of this machine, visitors included: {rate:.0}");
    }
    if tickets == 0 {
        println!("NOBODY GOT A TICKET: see above how the visits ended");
    }
    if report.broken_promises() > 0 {
        println!("PROMISES BROKEN: {}", report.broken_promises());
    }
    if report.unasked() > 0 {
        println!("{} accepted bookings could not be asked for again", report.unasked());
    }
    let failed = report.failed();
    if failed > 0 {
        println!("{failed} visitors could not go on: see FAILED above");
    }
    // A sale in which more than 1 % of the visitors failed proves nothing.
    let worked = tickets > 0 && failed * 100 <= report.visitors;
    let proven = report.broken_promises() == 0 && report.unasked() == 0;
    let kept = audit.is_clean() && proven && worked;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `None` if no time passed, or the cores cannot be counted.
fn per_hour_and_core(n: u64, took: Duration) -> Option<f64> {
    let cores = std::thread::available_parallelism().ok()?.get();
    let core_hours = took.as_secs_f64() / 3600.0 * float(cores);
    (core_hours > 0.0).then(|| float(n) / core_hours)
}

/// The audit, repeated until it is clean or [`QUIET_WAIT`] is over.
async fn settled(
    pool: &Pool,
    show: ShowId,
    accepted: &[BookingId],
) -> anyhow::Result<store::audit::Audit> {
    let until = Instant::now() + QUIET_WAIT;
    loop {
        let audit = store::audit::audit(pool, Some(show), accepted).await?;
        if audit.is_clean() || Instant::now() > until {
            return Ok(audit);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
