//! How far behind this allocator's queues are, checked every second and written when it has
//! changed. The waiting room admits visitors by it, and admits none while a queue is not served.
//!
//! The broker is not asked, because it reports a queue that does not answer as empty. The backlog
//! is what was accepted and is not decided, by number.

use std::collections::HashMap;

use contract::topology::Partition;
use store::{StoreResult, backlogs};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{allocator::Allocator, keeper::Keeper};

/// What was written about this allocator's queues.
pub(crate) struct Backlogs {
    me: Uuid,
    /// The queues that were served when they were last written, with their undecided bookings.
    written: HashMap<Partition, u32>,
}

impl Backlogs {
    /// Nothing is written at first.
    pub(crate) fn new(me: Uuid) -> Self {
        Self { me, written: HashMap::new() }
    }

    /// Writes how far the queues are behind, if that has changed, and that all queues were checked:
    /// a queue that is not written again is unchanged.
    pub(crate) async fn record(
        &mut self,
        allocator: &Allocator,
        kept: &HashMap<Partition, Keeper>,
        undecided: &HashMap<Partition, i64>,
    ) -> StoreResult<()> {
        // With a broker that takes no bookings, a queue does not count as served.
        let is_open = allocator.publishing.check().is_ok();
        let is_served = |partition: &Partition| {
            is_open && kept.get(partition).is_some_and(|keeper| keeper.in_hand.is_being_served())
        };
        let left: Vec<Partition> =
            self.written.keys().filter(|partition| !is_served(partition)).cloned().collect();
        if !left.is_empty() {
            backlogs::leave(&allocator.following, self.me, &left).await?;
            self.written.retain(|partition, _| is_served(partition));
        }
        let now = Instant::now();
        let mut seen = Vec::new();
        for (partition, keeper) in kept.iter().filter(|(partition, _)| is_served(partition)) {
            let waiting = undecided.get(partition).copied().unwrap_or(0);
            let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
            let one = keeper.in_hand.sighting(partition, waiting, now);
            if one.undecided > 0 || self.written.get(partition) != Some(&0) {
                seen.push(one);
            }
        }
        backlogs::record(&allocator.following, self.me, &seen).await?;
        for one in seen {
            metrics::gauge!("usher_bookings_undecided", "show" => one.partition.show.to_string(),
                "tier" => one.partition.tier.to_string())
            .set(f64::from(one.undecided));
            self.written.insert(one.partition, one.undecided);
        }
        Ok(())
    }
}
