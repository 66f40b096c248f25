//! A stretch of time: counters are read at both ends.

use loadtest::stampede::Counts;
use platform::number::float;
use tokio::time::Instant;

use super::{
    super::{figures::Stretch, line_probe::Work, usage::Usage},
    run::Run,
};

/// The counters at the beginning.
pub(super) struct Window {
    counts: Counts,
    usage: [Option<Usage>; 2],
    work: Work,
    from: Instant,
}

impl Window {
    pub(super) async fn open(run: &mut Run) -> anyhow::Result<Self> {
        let counts = run.stampedes.count(&mut run.console).await?;
        let work = run.store.work().await?;
        Ok(Self { counts, usage: usage(run), work, from: Instant::now() })
    }

    /// The load since the beginning.
    pub(super) async fn close(self, run: &mut Run) -> anyhow::Result<Stretch> {
        let time = self.from.elapsed();
        let (usage, work) = (usage(run), run.store.work().await?);
        let counts = run.stampedes.count(&mut run.console).await?;
        run.check()?;
        let cores = |n: usize| {
            let (before, after) = self.usage[n].zip(usage[n])?;
            Some((after - before).cpu.as_secs_f64() / time.as_secs_f64())
        };
        let frames = counts.frames - self.counts.frames;
        Ok(Stretch {
            seconds: time.as_secs_f64(),
            watching_at_first: self.counts.watching,
            watching_at_last: counts.watching,
            left: counts.left - self.counts.left,
            reconnected: counts.reconnected - self.counts.reconnected,
            frames_per_second: float(frames) / time.as_secs_f64(),
            redis: work.since(&self.work, time),
            node_cores: cores(0),
            stampede_cores: cores(1),
        })
    }
}

/// The usage of the nodes, and of the stampedes.
fn usage(run: &Run) -> [Option<Usage>; 2] {
    [run.usage(), Usage::of(run.stampedes.pids())]
}
