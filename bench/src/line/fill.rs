//! Filling the line: visitors join as fast as they are answered, then open their sockets.

use std::time::Duration;

use anyhow::bail;
use loadtest::stampede::Order;

use super::{run::Run, window::Window};
use crate::figures::Joins;

/// Joins, and handshakes, that all stampedes together have under way.
const AT_ONCE: usize = 256;
/// Least share of the wanted watchers; with fewer the run fails.
const ENOUGH_PERCENT: u64 = 95;
/// How long the rate of Redis alone is measured.
const OWN_RATE_TIME: Duration = Duration::from_secs(1);

impl Run {
    /// Sends visitors until `watchers` are watching.
    pub(super) async fn fill(&mut self, watchers: usize) -> anyhow::Result<Joins> {
        let watching = self.stampedes.count(&mut self.console).await?.watching;
        let missing = watchers.saturating_sub(usize::try_from(watching)?);
        // Measured right before the joins, while the machine is in the same state.
        let redis_alone = self.store.own_rate(OWN_RATE_TIME).await?;
        self.console.say(&format!("fill: {missing} join, for {watchers} in all"));
        let at_once = AT_ONCE.div_ceil(self.stampedes.len());
        let join = |(first, tokens)| Order::Join { first, tokens, at_once };
        let orders = self.shares(missing).into_iter().map(join).collect();
        let window = Window::open(self).await?;
        let heard = self.stampedes.order(orders, &mut self.console).await?;
        let joins = Joins::of(heard.joined, redis_alone, window.close(self).await?);
        self.console
            .say(&format!("fill: {:.0} joined a second; they open sockets", joins.per_second));
        let orders = (0..self.stampedes.len()).map(|_| Order::Open { at_once }).collect();
        self.stampedes.order(orders, &mut self.console).await?;
        self.check()?;
        let counts = self.stampedes.count(&mut self.console).await?;
        if counts.watching * 100 < watchers as u64 * ENOUGH_PERCENT {
            bail!(
                "only {} of {watchers} watch: {:?}; try fewer --watchers, and see the logs",
                counts.watching,
                counts.failed
            );
        }
        Ok(joins)
    }
}
