//! The stretch in which visitors come, leave and lose connections, and are admitted at the full
//! rate. The numbers on their screens are compared with the line itself.

use loadtest::stampede::{Order, Sample, Stir};

use super::{
    run::Run,
    settings::{CHANGE_TIME, Line, TRUTH_LEAD},
    window::Window,
};
use crate::{
    admission::AdmissionRate,
    figures::Stirred,
    freshness::{Freshness, Truth},
    line_probe::Snapshot,
};

/// One of this many visitors keeps a trail.
const TRAIL_EVERY: usize = 20;

impl Line {
    pub(super) async fn stir(&self, run: &mut Run) -> anyhow::Result<Stirred> {
        run.fill(self.watchers_at_first()).await?;
        let burst = self.burst();
        run.stage.resume(self.rate, burst).await?;
        run.stampedes.wait(CHANGE_TIME, &mut run.console).await?;
        let snapshot = run.store.snapshot().await?;
        run.stampedes.wait(TRUTH_LEAD, &mut run.console).await?;
        let (seconds, rate) = (self.seconds, self.rate);
        run.console
            .say(&format!("stir: {seconds} s of coming and going, {rate} admitted per second"));
        let window = Window::open(run).await?;
        let orders = self.stir_orders(run);
        let arrived = orders.iter().map(|stir| stir.arrivals.len() as u64).sum();
        let orders = orders.into_iter().map(Order::Stir).collect();
        let heard = run.stampedes.order(orders, &mut run.console).await?;
        let stretch = window.close(run).await?;
        let record = run.store.record(&snapshot).await?;
        run.stage.pause().await?;

        let Snapshot { at_ms, line, .. } = snapshot;
        let admission =
            AdmissionRate::of(&record.taken, at_ms, record.until_ms, rate, f64::from(burst));
        let truth = Truth::new(at_ms, line, record.gone);
        let mut freshness = Freshness::default();
        for trail in &heard.trails {
            freshness.add(trail, &truth);
        }
        Ok(Stirred { arrived, rate, burst, stretch, admission, freshness: freshness.summary() })
    }

    fn stir_orders(&self, run: &mut Run) -> Vec<Stir> {
        let front = (self.watchers / 100 + self.let_in(self.seconds)) as u64;
        let one = |(first, arrivals)| Stir {
            seconds: self.seconds,
            leave: f64::from(self.leave) / 100.0,
            reconnect: f64::from(self.reconnect) / 100.0,
            first,
            arrivals,
            sample: Sample { every: TRAIL_EVERY, front },
        };
        run.shares(self.arrivals()).into_iter().map(one).collect()
    }

    /// Watchers at the beginning, so that the wanted number is left when the looks begin.
    pub(super) fn watchers_at_first(&self) -> usize {
        let lead = CHANGE_TIME + TRUTH_LEAD;
        self.watchers + self.let_in(u32::try_from(lead.as_secs()).unwrap_or(u32::MAX))
    }

    /// All visitors of the run: the watchers, those admitted in the steps before, and later
    /// arrivals.
    pub(super) fn visitors(&self) -> usize {
        self.watchers_at_first() + self.watchers / 10 + self.arrivals()
    }

    /// Arrivals that replace the admitted and the leavers, so that the number of watchers stays.
    fn arrivals(&self) -> usize {
        self.watchers * usize::from(self.leave) / 100 + self.let_in(self.seconds)
    }

    fn let_in(&self, seconds: u32) -> usize {
        whole(self.rate * f64::from(seconds))
    }

    /// A burst of half a second's worth, so that a busy machine does not lower the rate.
    fn burst(&self) -> i32 {
        i32::try_from(whole(self.rate / 2.0)).unwrap_or(i32::MAX).max(1)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of visitors: not negative, and far below the limit"
)]
fn whole(n: f64) -> usize {
    n.max(0.0).round() as usize
}
