//! The workers of a crowd, as the process sees them that started them.

use std::{process::Stdio, time::Duration};

use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::worker::{News, line, next};
use crate::{Crowd, Tally, crowd::Share, journal::Recheck, tally::VisitEnd};

/// Longest silence of a worker at work, which has news every second. After that it is killed.
const SILENCE_MAX: Duration = Duration::from_mins(1);
const SILENT: &str = "silent for a minute";

/// All workers of a crowd.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    process: Child,
    orders: ChildStdin,
    news: BufReader<ChildStdout>,
    visitors: u64,
    /// What it has told so far.
    told: Tally,
    recheck: Option<Recheck>,
    is_lost: bool,
}

impl Workers {
    /// Starts the workers; each has its share of the crowd and waits.
    pub(super) async fn start(crowd: &Crowd, origin: &str, of: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let mut all = Vec::new();
        for nth in 0..of {
            let mut command = Command::new(&program);
            command.args(std::env::args_os().skip(1)).arg("--worker");
            let share = crowd.for_share(Share { nth, of });
            let started = Worker::start(&mut command, origin, &share).await;
            all.push(started.context("a process for the crowd does not start")?);
        }
        Ok(Self(all))
    }

    /// Tells all workers to go on, and adds up what they see until each is done or lost.
    pub(super) async fn go_on(&mut self, tally: &Tally) {
        join_all(self.0.iter_mut().map(|worker| worker.go_on(tally))).await;
    }

    /// What the workers heard when they asked again; a lost one can ask nothing.
    pub(super) fn recheck(self) -> Recheck {
        let mut all = Recheck::default();
        for Worker { recheck, told, .. } in self.0 {
            all.add(recheck.unwrap_or_else(|| Recheck::unasked(told.accepted.get())));
        }
        all
    }
}

impl Worker {
    async fn start(command: &mut Command, origin: &str, crowd: &Crowd) -> anyhow::Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn()?;
        let mut worker = Self {
            orders: process.stdin.take().context("it has no standard input")?,
            news: BufReader::new(process.stdout.take().context("it has no standard output")?),
            process,
            visitors: crowd.share.of_first(crowd.visitors) as u64,
            told: Tally::default(),
            recheck: None,
            is_lost: false,
        };
        worker.carry_out(&line(&(origin, crowd))?, &Tally::default()).await?;
        Ok(worker)
    }

    /// Tells the worker to go on. If it cannot, the visitors whose end it has not told have failed.
    async fn go_on(&mut self, tally: &Tally) {
        if self.is_lost {
            return;
        }
        let Err(error) = self.carry_out(b"null\n", tally).await else { return };
        self.is_lost = true;
        // It may have ended by itself; then its status says how.
        let _ = self.process.start_kill();
        let status = self.process.wait().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let what = format!("a process of the crowd was lost: {error:#} ({status})");
        eprintln!("error: {what}");
        let ended: u64 = self.told.endings().values().sum();
        tally.end_alike(VisitEnd::Failed(what), self.visitors.saturating_sub(ended));
        tally.arrived.add(self.visitors.saturating_sub(self.told.arrived.get()));
        tally.waiting.add(self.told.waiting.get().wrapping_neg());
    }

    /// Gives an order, and adds up the news until it is carried out.
    async fn carry_out(&mut self, order: &[u8], tally: &Tally) -> anyhow::Result<()> {
        timeout(SILENCE_MAX, self.orders.write_all(order)).await.context(SILENT)??;
        loop {
            let news = timeout(SILENCE_MAX, next::<News>(&mut self.news)).await;
            match news.context(SILENT)?? {
                News::Seen(seen) => {
                    self.told.add((*seen).clone());
                    tally.add(*seen);
                }
                News::Rechecked(recheck) => self.recheck = Some(recheck),
                News::Done => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::BookingId;

    use super::*;
    use crate::crowd::tests::crowd;

    #[tokio::test]
    async fn the_visitors_of_a_lost_process_have_failed() {
        let ways = [
            ("exit 3", "exit status: 3"),
            ("echo nonsense; exec cat", "expected value"),
            ("printf half", "no whole line"),
        ];
        for (way, why) in ways {
            // One of a hundred visitors gets a ticket, and one waits.
            let seen = Tally::default();
            seen.arrived.add(2);
            seen.waiting.up();
            seen.accepts(BookingId::new());
            seen.end(VisitEnd::Ticket);
            let seen = line(&News::Seen(Box::new(seen.take()))).unwrap();
            let seen = String::from_utf8(seen).unwrap();
            let script = format!("read a; echo '\"done\"'; read b; echo '{}'; {way}", seen.trim());
            let mut sh = Command::new("sh");
            let worker = Worker::start(sh.arg("-c").arg(script), "", &crowd(0)).await.unwrap();

            let (mut workers, tally) = (Workers(vec![worker]), Tally::default());
            workers.go_on(&tally).await;
            workers.go_on(&tally).await;
            assert_eq!((tally.arrived.get(), tally.waiting.get()), (100, 0));
            let endings: Vec<(VisitEnd, u64)> = tally.endings().into_iter().collect();
            let [(VisitEnd::Ticket, 1), (VisitEnd::Failed(what), 99)] = &endings[..] else {
                panic!("{endings:?}");
            };
            assert!(what.contains(why), "{what}");
            assert_eq!(workers.recheck(), Recheck::unasked(1));
        }
    }
}
