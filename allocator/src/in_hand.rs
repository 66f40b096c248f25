//! What a session has in hand: how much there is to decide, and since when nothing was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use contract::{deadline::BOOKING_DEADLINE, message::BookingRequested, topology::Partition};
use store::backlogs::Sighting;
use tokio::time::Instant;

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

    /// Whether a session consumes the queue.
    pub(crate) fn is_being_served(&self) -> bool {
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
    pub(crate) fn seen(&self, partition: &Partition, waiting: u32, now: Instant) -> Sighting {
        let mut hand = self.hand();
        if waiting == 0 && hand.batch.is_none() {
            hand.moved_at = Some(now);
        }
        let (n_batch, oldest_at) = hand.batch.map_or((0, None), |(n, at)| (n, Some(at)));
        let moved_at = *hand.moved_at.get_or_insert(now);
        Sighting {
            partition: partition.clone(),
            undecided: waiting.max(u32::try_from(n_batch).unwrap_or(u32::MAX)),
            oldest_at,
            idle_for: (waiting > 0).then(|| now - moved_at),
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
