//! Load at scale on one machine: the services and their visitors as processes of their own,
//! measured from outside, with the goals beside the figures.

mod line;
mod shows;
mod site;
mod stage;
mod fleet;
mod ports;
mod stampedes;
mod screen;
mod usage;
mod line_store;
mod freshness;
mod admission;
mod figures;
mod goals;
mod report;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Puts a part of the system under load and reports what it can take.
#[derive(Args)]
pub struct Load {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Waiting visitors over several nodes of the waiting room: joins, sockets, leavers, reconnects.
    Line(line::Line),
    /// Many open shows on one allocator: idle cost, a takeover, a busy show among quiet ones.
    Shows(shows::Shows),
}

impl Load {
    /// Runs it. Exits 0 when every promise was kept; goals that were missed are in the report.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Line(line) => line.run().await,
            What::Shows(shows) => shows.run().await,
        }
    }
}
