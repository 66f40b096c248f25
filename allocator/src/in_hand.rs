//! What a session has in hand: how much there is to decide, and since when nothing was.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{deadline::BOOKING_DEADLINE, message::BookingRequested, topology::Partition};
use store::backlogs::Sighting;
use tokio::time::Instant;

/// Where something waits and nothing was decided for this long, it may wait somewhere else than in
/// the queue: put aside, on its way back, or lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// What a session is deciding. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Mutex<Hand>>);

/// Bookings that wait, and none is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    waiting: u32,
    /// Batches that had been taken by then.
    n_batches: u64,
}

#[derive(Default)]
struct Hand {
    /// How many, and when the oldest was accepted.
    batch: Option<(usize, DateTime<Utc>)>,
    /// When the oldest of the last batch was accepted: what is behind it in the queue came later.
    before: Option<DateTime<Utc>>,
    /// Accepted and not decided, when it was last looked at.
    waiting: u32,
    /// How many of these are known not to be in the queue.
    elsewhere: u32,
    /// Batches that were taken, ever.
    n_batches: u64,
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
        hand.before = oldest.or(hand.before);
        hand.n_batches += u64::from(!requests.is_empty());
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

    /// What waits though nothing was decided for seconds; `None` where that is not so.
    pub(crate) fn idle(&self, now: Instant) -> Option<Idle> {
        let hand = self.hand();
        let is_idle = hand.moved_at.is_some_and(|moved_at| now - moved_at > IDLE_MAX);
        let is_behind = hand.batch.is_none() && hand.waiting > hand.elsewhere;
        (is_idle && is_behind).then_some(Idle { waiting: hand.waiting, n_batches: hand.n_batches })
    }

    /// Notes that what waited is not in the queue, unless a batch was taken since: then it may have
    /// been in it. It counts as undecided, and holds nobody up. Returns whether it is noted.
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

    use contract::{
        AccountId, BookingId, ShowId,
        booking::{Kind, Wish},
    };

    use super::*;

    fn request(accepted_at: DateTime<Utc>) -> BookingRequested {
        BookingRequested {
            booking_id: BookingId::new(),
            account_id: AccountId::new(),
            kind: Kind::Hold,
            wish: Wish::BestAvailable(1),
            idempotency_key: None,
            ticket_id: None,
            deadline: accepted_at + BOOKING_DEADLINE,
            traceparent: None,
            attempt: 0,
            number: None,
        }
    }

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

    #[test]
    fn what_waits_elsewhere_holds_nobody_up_and_what_comes_after_it_ages() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, start) = (InHand::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        in_hand.seen(&partition, 5, start);
        assert_eq!(in_hand.idle(at(3)), None);
        let idle = in_hand.idle(at(5)).expect("five wait");
        assert_eq!(idle.waiting, 5);
        in_hand.takes(&[request(DateTime::UNIX_EPOCH)]);
        assert!(!in_hand.are_elsewhere(idle), "it may be one of them");
        in_hand.is_empty_again(start);
        assert!(in_hand.are_elsewhere(in_hand.idle(at(5)).expect("five wait")));
        let seen = in_hand.seen(&partition, 5, at(6));
        assert_eq!((seen.undecided, seen.idle_for), (5, None));
        assert_eq!(in_hand.idle(at(20)), None);
        in_hand.seen(&partition, 6, at(20));
        assert_eq!(in_hand.seen(&partition, 6, at(23)).idle_for, Some(Duration::from_secs(17)));
        in_hand.seen(&partition, 2, at(24));
        assert_eq!(in_hand.seen(&partition, 3, at(25)).idle_for, Some(Duration::from_secs(1)));
    }

    #[test]
    fn between_two_batches_the_lag_is_that_of_the_last_one() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, now) = (InHand::default(), Instant::now());
        let accepted_at = DateTime::UNIX_EPOCH;
        in_hand.takes(&[request(accepted_at)]);
        assert_eq!(in_hand.seen(&partition, 9, now).oldest_at, Some(accepted_at));
        in_hand.is_empty_again(now);
        assert_eq!(in_hand.seen(&partition, 9, now).oldest_at, Some(accepted_at));
        assert_eq!(in_hand.seen(&partition, 0, now).oldest_at, None);
        assert_eq!(in_hand.seen(&partition, 1, now).oldest_at, None);
    }
}
