//! The bench of the booking's way, from the request to the durable order: how many per second, and
//! what each costs PostgreSQL, RabbitMQ, Redis and our processes. Another version can be measured in
//! turn, on the same backends.

mod round;
mod sender;
mod figures;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    console::Console,
    site::{Report, Site},
};
use figures::Figures;

/// Bookings of a whole sale through ingress, one allocator and the notifier.
#[derive(Args)]
pub(crate) struct Bookings {
    /// Bookings in each round.
    #[arg(long = "bookings", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=500_000))]
    each_round: u32,
    /// Rounds of each version; the medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Requests that are under way at once, each on a connection of its own.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    at_once: u16,
    /// Folder with the programs of another version, which is measured in turn with this one.
    #[arg(long)]
    against: Option<PathBuf>,
    #[command(flatten)]
    site: Site,
}

impl Bookings {
    /// Runs the bench. Exits 0 if every accepted booking has its order and every goal was met.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.site.report("bookings", self.measure()).await
    }

    async fn measure(&self) -> anyhow::Result<Report> {
        let mut console = Console::new();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 1..=self.rounds {
            // In turn, so that whatever else the machine does meets both.
            if let Some(programs) = &self.against {
                console.say(&format!("round {n} of {}: the other version", self.rounds));
                theirs.push(round::play(self, Some(programs), &mut console).await?);
            }
            console.say(&format!("round {n} of {}: this version", self.rounds));
            ours.push(round::play(self, None, &mut console).await?);
        }
        let figures = Figures::of(self.each_round, self.at_once, &ours, &theirs);
        Ok(Report { text: figures.text(), json: figures.json(), is_kept: figures.are_met() })
    }
}
