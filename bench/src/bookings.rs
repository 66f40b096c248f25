//! The bench of the booking's way, from the request to the durable order: how many per second, and
//! what each costs PostgreSQL, RabbitMQ, Redis and our processes. Another version can be measured in
//! turn, on the same backends. Beside them it measures what these backends do alone, and the booking
//! of the textbooks on them.

mod settings;
mod yardstick;
mod sender;
mod times;
mod asking;
mod door;
mod reads;
mod backlog;
mod growth;
mod latency;
mod cost;
mod house;
mod textbook;
mod round;
mod spread;
mod figures;

use std::process::ExitCode;

use crate::{console::Console, site::Report};
use figures::Figures;
pub(crate) use settings::Bookings;

impl Bookings {
    /// Runs the bench. Exits 0 if every accepted booking has its order.
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
        Ok(Report { text: figures.text(), json: figures.json(), is_kept: true })
    }
}
