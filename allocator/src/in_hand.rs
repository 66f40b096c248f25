//! What a session has in hand: how many bookings wait, and since when none was decided.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{deadline::BOOKING_DEADLINE, message::BookingRequested, topology::Partition};
use store::backlogs::Sighting;
use tokio::time::Instant;

/// If bookings wait and none was decided for this long, they may not be in the queue: they may be
/// set aside, on their way back, or lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// What a session is deciding. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Mutex<Hand>>);

/// Bookings wait, and none is being decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    waiting: u32,
    /// Batches that had been taken at that time.
    n_batches: u64,
}

#[derive(Default)]
struct Hand {
    /// Number of bookings being decided, and when the oldest was accepted.
    batch: Option<(usize, DateTime<Utc>)>,
    /// When the oldest booking of the last batch was accepted; bookings behind it came later.
    before: Option<DateTime<Utc>>,
    /// Bookings accepted and not decided, as last counted.
    waiting: u32,
    /// How many of the waiting bookings are known not to be in the queue.
    elsewhere: u32,
    /// Batches taken so far.
    n_batches: u64,
    /// When it was last known that nothing waits, or when something was last decided.
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
        // A booking that came back from the parked queue says nothing about this queue.
        let fresh = requests.iter().filter(|request| request.attempt == 0);
        let oldest = fresh.map(|request| request.deadline - BOOKING_DEADLINE).min();
        hand.batch = oldest.map(|oldest| (requests.len(), oldest));
        hand.before = oldest.or(hand.before);
        hand.n_batches += u64::from(!requests.is_empty());
    }

    /// Notes that the batch is decided.
    pub(crate) fn is_empty_again(&self, now: Instant) {
        let mut hand = self.hand();
        hand.batch = None;
        hand.moved_at = Some(now);
    }

    /// The backlog to report; by the database, `waiting` bookings are accepted and not decided.
    pub(crate) fn sighting(&self, partition: &Partition, waiting: u32, now: Instant) -> Sighting {
        let mut hand = self.hand();
        hand.waiting = waiting;
        hand.elsewhere = hand.elsewhere.min(waiting);
        let is_behind = waiting > hand.elsewhere;
        if !is_behind && hand.batch.is_none() {
            hand.moved_at = Some(now);
            hand.before = None;
        }
        let (n_batch, oldest_at) =
            hand.batch.map_or((0, hand.before), |(n, oldest_at)| (n, Some(oldest_at)));
        let moved_at = *hand.moved_at.get_or_insert(now);
        Sighting {
            partition: partition.clone(),
            undecided: waiting.max(u32::try_from(n_batch).unwrap_or(u32::MAX)),
            oldest_at,
            idle_for: is_behind.then(|| now - moved_at),
        }
    }

    /// The waiting bookings, if none was decided for [`IDLE_MAX`].
    pub(crate) fn idle(&self, now: Instant) -> Option<Idle> {
        let hand = self.hand();
        let is_idle = hand.moved_at.is_some_and(|moved_at| now - moved_at > IDLE_MAX);
        let is_behind = hand.batch.is_none() && hand.waiting > hand.elsewhere;
        (is_idle && is_behind).then_some(Idle { waiting: hand.waiting, n_batches: hand.n_batches })
    }

    /// Notes that the waiting bookings are not in the queue, unless a batch, which may have held
    /// them, was taken since. They still count as undecided, but no longer hold up admission.
    /// Returns whether they were noted.
    pub(crate) fn are_elsewhere(&self, idle: Idle) -> bool {
        let mut hand = self.hand();
        let is_still_idle = hand.n_batches == idle.n_batches;
        if is_still_idle {
            hand.elsewhere = idle.waiting.min(hand.waiting);
        }
        is_still_idle
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
    use crate::example::request;

    #[test]
    fn a_queue_that_nobody_decides_from_ages() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, start) = (InHand::default(), Instant::now());
        let later = start + Duration::from_secs(3);
        assert_eq!(in_hand.sighting(&partition, 0, start).idle_for, None);
        let seen = in_hand.sighting(&partition, 7, later);
        assert_eq!(seen.idle_for, Some(Duration::from_secs(3)));
        assert_eq!((seen.undecided, seen.oldest_at), (7, None));
        in_hand.is_empty_again(later);
        assert_eq!(in_hand.sighting(&partition, 7, later).idle_for, Some(Duration::ZERO));
    }

    #[test]
    fn what_waits_elsewhere_holds_nobody_up_and_what_comes_after_it_ages() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, start) = (InHand::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        in_hand.sighting(&partition, 5, start);
        assert_eq!(in_hand.idle(at(3)), None);
        let idle = in_hand.idle(at(5)).expect("five wait");
        assert_eq!(idle.waiting, 5);
        in_hand.takes(&[request(DateTime::UNIX_EPOCH)]);
        assert!(!in_hand.are_elsewhere(idle), "it may be one of them");
        in_hand.is_empty_again(start);
        assert!(in_hand.are_elsewhere(in_hand.idle(at(5)).expect("five wait")));
        let seen = in_hand.sighting(&partition, 5, at(6));
        assert_eq!((seen.undecided, seen.idle_for), (5, None));
        assert_eq!(in_hand.idle(at(20)), None);
        in_hand.sighting(&partition, 6, at(20));
        assert_eq!(in_hand.sighting(&partition, 6, at(23)).idle_for, Some(Duration::from_secs(17)));
        in_hand.sighting(&partition, 2, at(24));
        assert_eq!(in_hand.sighting(&partition, 3, at(25)).idle_for, Some(Duration::from_secs(1)));
    }

    #[test]
    fn between_two_batches_the_lag_is_that_of_the_last_one() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, now) = (InHand::default(), Instant::now());
        let accepted_at = DateTime::UNIX_EPOCH;
        in_hand.takes(&[request(accepted_at)]);
        assert_eq!(in_hand.sighting(&partition, 9, now).oldest_at, Some(accepted_at));
        in_hand.is_empty_again(now);
        assert_eq!(in_hand.sighting(&partition, 9, now).oldest_at, Some(accepted_at));
        assert_eq!(in_hand.sighting(&partition, 0, now).oldest_at, None);
        assert_eq!(in_hand.sighting(&partition, 1, now).oldest_at, None);
    }
}
