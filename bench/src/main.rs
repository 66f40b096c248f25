//! Measures Usher at scale on one machine (`./dev bench`, `./dev load`): services and visitors run as processes of
//! their own and are measured from outside. The report shows the figures beside the goals.

mod bookings;
mod line;
mod shows;
mod site;
mod stage;
mod fleet;
mod ports;
mod stampedes;
mod console;
mod usage;
mod line_probe;
mod freshness;
mod admission;
mod figures;
mod goals;
mod report;

use std::process::ExitCode;

use clap::Parser;

/// Puts a part of the system under load and reports the figures.
#[derive(Parser)]
#[command(version)]
enum Bench {
    /// Waiting visitors over several nodes of the waiting room: joins, sockets, leavers,
    /// reconnects.
    Line(line::Line),
    /// Bookings from the request to the order: how many per second, and the cost of each.
    Bookings(bookings::Bookings),
    /// Many open shows on one allocator: idle cost, a takeover, a busy show among quiet ones.
    Shows(shows::Shows),
}

/// Exits 0 if `line` kept every promise, or the others met every goal.
#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Bench::parse() {
        Bench::Bookings(bookings) => Box::pin(bookings.run()).await,
        Bench::Line(line) => Box::pin(line.run()).await,
        Bench::Shows(shows) => Box::pin(shows.run()).await,
    }
}
