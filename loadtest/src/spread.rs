//! A crowd sent from this process, or from several: each visitor has a socket, and a process may
//! open only a limited number of files.
//!
//! The several processes are [`workers`]: copies of this program with the same arguments and
//! `--worker`. Each [`worker`] sends a share of the visitors and tells what they see. The tally of
//! this process adds up what all of them tell, so that progress, report and picture are those of
//! one crowd.

mod worker;
mod workers;

use std::sync::Arc;

use clap::Args;

use crate::{Client, Crowd, Journal, Report, Tally, progress};
pub use worker::work;
use workers::Workers;

/// Visits at once for which one process is enough.
const VISITS_MAX: usize = 4_000;
const PROCESSES_MAX: u16 = 64;

/// The processes that send a crowd.
#[derive(Args, Clone, Copy)]
pub struct Spread {
    /// Processes that send the visitors; by default one for every 4,000 visits at once.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(PROCESSES_MAX)))]
    processes: Option<u16>,
    /// Be one of these processes; only the program itself gives this option.
    #[arg(long, hide = true)]
    worker: bool,
}

impl Spread {
    /// Whether this process is a worker: then it has to [`work`], and nothing else.
    pub fn is_worker(self) -> bool {
        self.worker
    }

    /// The number of processes for this many visits at once.
    pub fn processes(self, at_once: usize) -> usize {
        let enough = at_once.div_ceil(VISITS_MAX).clamp(1, PROCESSES_MAX.into());
        self.processes.map_or(enough, usize::from)
    }

    /// Sends the crowd, prints its progress, and asks again for every accepted booking.
    pub async fn send(self, crowd: &Crowd, client: &Client) -> anyhow::Result<Report> {
        let processes = self.processes(crowd.visitors.min(crowd.at_once_max));
        if processes == 1 {
            return Ok(send_from_here(crowd, client).await);
        }
        let mut workers = Workers::start(crowd, client.origin(), processes).await?;
        let tally = Tally::default();
        tokio::select! {
            () = workers.go_on(&tally) => progress::end(),
            () = progress::print(&tally, client, crowd.show) => {}
        }
        let mut report = Report::new(&tally);
        workers.go_on(&tally).await;
        report.recheck = Some(workers.recheck());
        Ok(report)
    }
}

async fn send_from_here(crowd: &Crowd, client: &Client) -> Report {
    let (tally, journal) = (Arc::new(Tally::default()), Arc::new(Journal::default()));
    tokio::select! {
        () = crowd.send(client, &tally, &journal) => progress::end(),
        () = progress::print(&tally, client, crowd.show) => {}
    }
    let mut report = Report::new(&tally);
    report.recheck = Some(journal.recheck().await);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_crowd_needs_no_other_process() {
        let by_default = Spread { processes: None, worker: false };
        for (at_once, processes) in [(0, 1), (4_000, 1), (4_001, 2), (16_000, 4), (1_000_000, 64)] {
            assert_eq!(by_default.processes(at_once), processes);
        }
        assert_eq!(Spread { processes: Some(3), worker: false }.processes(1), 3);
    }
}
