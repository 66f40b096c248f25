//! The bench of many open shows on one allocator: the cost of idle shows, the time until all queues
//! are served again after the allocator was killed, and the effect of the others on a busy show.

mod run;
mod paced;
mod figures;
mod settings;

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep};

use crate::site::Report;
use figures::{Figures, Takeover, Trouble};
use run::Run;
pub(crate) use settings::Shows;

/// Bookings sent while no allocator runs.
const SENT_MEANWHILE: usize = 30;
/// Time from the opening of the shows until the idle cost is measured.
const SETTLING: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest takeover; a longer one fails the run.
const TAKEOVER_MAX: Duration = Duration::from_mins(2);

impl Shows {
    /// Runs the bench. Exits 0 if every goal was met.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.site.report("shows", self.measure()).await
    }

    async fn measure(&self) -> anyhow::Result<Report> {
        let mut run = Run::set_up(self).await?;
        run.console.say("alone: the busy show is the only one that is open");
        // Warm-up: the first bookings are slower.
        run.book(self.rate, Duration::from_secs(2)).await?;
        let alone = run.book(self.rate, self.stretch()).await?;

        let opening = Instant::now();
        run.open_others(usize::from(self.open) - 1).await?;
        let opened_s = opening.elapsed().as_secs_f64();

        run.console.say(&format!("idle: nobody comes for {} s", self.seconds));
        sleep(SETTLING).await;
        let before = run.usage();
        let began = Instant::now();
        sleep(self.stretch()).await;
        let idle = run.cores_since(&before, began.elapsed());
        let load_average = load_average();

        run.console.say(&format!("among: the busy show beside {} others", self.open - 1));
        let among = run.book(self.rate, self.stretch()).await?;
        let trouble = self.trouble(&mut run).await?;
        let takeover = self.takeover(&mut run).await?;
        let partitions = run.partitions().await?;
        run.end().await?;
        let figures = Figures {
            shows: self.open.into(),
            partitions,
            seconds: self.seconds.into(),
            rate: self.rate.into(),
            load_average,
            opened_s,
            idle,
            alone,
            among,
            trouble,
            takeover,
        };
        Ok(Report { text: figures.text(), json: figures.json(), is_kept: figures.are_met() })
    }

    /// Deletes the queue of a quiet show, and pauses the line of another, while the busy show
    /// sells.
    async fn trouble(&self, run: &mut Run) -> anyhow::Result<Trouble> {
        run.console.say("trouble: a queue is deleted by hand, a line is stopped by hand");
        let began = Instant::now();
        let lost = run.delete_a_queue().await?;
        run.stop_a_line().await?;
        let (meanwhile, back) = tokio::join!(
            paced::book(&run.busy, &mut run.tokens, self.rate, self.stretch()),
            run::served_again(&run.amqp_url, &lost, began),
        );
        Ok(Trouble { meanwhile: meanwhile?, back_s: back?.as_secs_f64() })
    }

    /// Kills the allocator and starts another, while bookings of the busy show wait.
    async fn takeover(&self, run: &mut Run) -> anyhow::Result<Takeover> {
        run.console.say("takeover: the allocator is killed, another one starts");
        let partitions = run.partitions().await?;
        let killed = Instant::now();
        run.kill_allocator().await?;
        let waiting = run.send(SENT_MEANWHILE).await?;
        let name = run.start_allocator().await?;
        let decided = async {
            paced::decided(waiting).await?;
            anyhow::Ok(killed.elapsed())
        };
        let mut decided = std::pin::pin!(decided);
        let (mut busy, mut served_at_busy) = (None, 0);
        loop {
            let served = store::many::served_by(&run.pool, &name).await?.len();
            run.console.show(&format!("takeover: {served} of {partitions} are served again"));
            if served >= partitions && busy.is_some() {
                break;
            }
            if killed.elapsed() > TAKEOVER_MAX {
                bail!("{served} of {partitions} queues are served {TAKEOVER_MAX:?} after a kill");
            }
            tokio::select! {
                result = &mut decided, if busy.is_none() => {
                    busy = Some(result?);
                    served_at_busy = store::many::served_by(&run.pool, &name).await?.len();
                }
                () = sleep(LOOK_EVERY) => {}
            }
        }
        Ok(Takeover {
            all_s: killed.elapsed().as_secs_f64(),
            busy_s: busy.unwrap_or_default().as_secs_f64(),
            served_at_busy,
        })
    }

    fn stretch(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// The machine's load average of the last minute, which includes other work.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
