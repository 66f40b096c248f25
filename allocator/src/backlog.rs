//! How far behind our queues are, looked at every second and written down where it has changed:
//! visitors are let in by it. While nobody serves a queue, nobody is let in to it.
//!
//! The broker is not asked: a queue that does not answer is said to be empty. What was accepted and
//! is not decided, by number, is what waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use contract::{deadline::BOOKING_DEADLINE, message::BookingRequested, topology::Partition};
use store::{
    StoreResult,
    backlogs::{self, Seen},
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Office, keeper::Keeper};

/// What a session is deciding. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Mutex<Hand>>);

#[derive(Default)]
struct Hand {
    /// How many, and when the oldest was accepted.
    batch: Option<(usize, DateTime<Utc>)>,
    /// The last time it was known that nothing waits, or that something was decided.
    moved_at: Option<Instant>,
    /// Whether a session consumes the queue.
    is_served: bool,
}

impl InHand {
    /// Notes whether a session consumes the queue.
    pub(crate) fn is_served(&self, is_served: bool) {
        self.hand().is_served = is_served;
    }

    fn is_being_served(&self) -> bool {
        self.hand().is_served
    }

    /// Notes which bookings are being decided.
    pub(crate) fn takes(&self, requests: &[BookingRequested]) {
        let mut hand = self.hand();
        // One that came back from the parking queue says nothing about this one.
        let fresh = requests.iter().filter(|request| request.attempt == 0);
        let oldest = fresh.map(|request| request.deadline - BOOKING_DEADLINE).min();
        hand.batch = oldest.map(|oldest| (requests.len(), oldest));
    }

    /// Notes that they are decided.
    pub(crate) fn is_empty_again(&self, now: Instant) {
        let mut hand = self.hand();
        hand.batch = None;
        hand.moved_at = Some(now);
    }

    /// What there is to decide, of which `waiting` are accepted and not decided as the database has it.
    fn seen(&self, partition: &Partition, waiting: u32, now: Instant) -> Seen {
        let mut hand = self.hand();
        if waiting == 0 && hand.batch.is_none() {
            hand.moved_at = Some(now);
        }
        let (n_batch, oldest_at) = hand.batch.map_or((0, None), |(n, at)| (n, Some(at)));
        let moved_at = *hand.moved_at.get_or_insert(now);
        Seen {
            partition: partition.clone(),
            undecided: waiting.max(u32::try_from(n_batch).unwrap_or(u32::MAX)),
            oldest_at,
            idle_for: (waiting > 0).then(|| now - moved_at),
        }
    }

    fn hand(&self) -> std::sync::MutexGuard<'_, Hand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was written down of the queues that are ours.
pub(crate) struct Backlogs {
    me: Uuid,
    /// Served when it was last written, and how much there was to decide.
    written: HashMap<Partition, u32>,
}

impl Backlogs {
    /// Nothing is written yet.
    pub(crate) fn new(me: Uuid) -> Self {
        Self { me, written: HashMap::new() }
    }

    /// Writes down how far the queues are behind, as far as that has changed, and that it was looked
    /// at: what is not written again is as it was.
    pub(crate) async fn record(
        &mut self,
        office: &Office,
        kept: &HashMap<Partition, Keeper>,
        undecided: &HashMap<Partition, i64>,
    ) -> StoreResult<()> {
        // A broker that takes no bookings is as good as none.
        let is_open = office.publishing.check().is_ok();
        let is_served = |partition: &Partition| {
            is_open && kept.get(partition).is_some_and(|keeper| keeper.in_hand.is_being_served())
        };
        let left: Vec<Partition> =
            self.written.keys().filter(|partition| !is_served(partition)).cloned().collect();
        if !left.is_empty() {
            backlogs::leave(&office.pool, self.me, &left).await?;
            self.written.retain(|partition, _| is_served(partition));
        }
        let now = Instant::now();
        let mut seen = Vec::new();
        for (partition, keeper) in kept.iter().filter(|(partition, _)| is_served(partition)) {
            let waiting = undecided.get(partition).copied().unwrap_or(0);
            let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
            let one = keeper.in_hand.seen(partition, waiting, now);
            if one.undecided > 0 || self.written.get(partition) != Some(&0) {
                seen.push(one);
            }
        }
        backlogs::record(&office.pool, self.me, &seen).await?;
        for one in seen {
            metrics::gauge!("usher_bookings_undecided", "show" => one.partition.show.to_string(),
                "tier" => one.partition.tier.to_string())
            .set(f64::from(one.undecided));
            self.written.insert(one.partition, one.undecided);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contract::ShowId;

    use super::*;

    #[test]
    fn a_queue_that_nobody_decides_from_ages() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, start) = (InHand::default(), Instant::now());
        let later = start + Duration::from_secs(3);
        assert_eq!(in_hand.seen(&partition, 0, start).idle_for, None);
        let seen = in_hand.seen(&partition, 7, later);
        assert_eq!(seen.idle_for, Some(Duration::from_secs(3)));
        assert_eq!((seen.undecided, seen.oldest_at), (7, None));
        in_hand.is_empty_again(later);
        assert_eq!(in_hand.seen(&partition, 7, later).idle_for, Some(Duration::ZERO));
    }
}
