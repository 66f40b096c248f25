//! Asking PostgreSQL whether a booking was accepted, where Redis cannot tell, at a bounded rate.

use std::{num::NonZeroU32, time::Duration};

use chrono::{DateTime, Utc};
use contract::{BookingId, ShowId};
use governor::{DefaultDirectRateLimiter, Quota};
use moka::future::Cache;
use store::{
    Pool, acceptance,
    backlogs::{self, Backlog},
    bookings::{Looker, is_over},
    live::board::SHOWS_MAX,
    sale::Sale,
};

/// Most questions per second; they share queries.
pub(crate) const PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// Longest time from a try until its booking is accepted, reported and seen by an allocator: a try
/// waits up to 4 s for its turn and 5 s for the broker.
const COUNTED_AFTER: Duration = Duration::from_secs(11);
/// How long the answer is kept that bookings may be left in a show's queues.
const LEFT_KEPT: Duration = Duration::from_secs(1);
/// How long the answer is kept after its last use that no booking from before a moment is left.
/// That answer never changes.
const NOTHING_LEFT_KEPT: Duration = Duration::from_hours(1);

/// Asks whether bookings were accepted.
pub(crate) struct Questions {
    pool: Pool,
    looker: Looker,
    rate: DefaultDirectRateLimiter,
    /// Whether every booking of a show that was accepted before a moment is decided.
    decided: Cache<(ShowId, DateTime<Utc>), bool>,
    /// The shows and moments for which that is true.
    all_decided: Cache<(ShowId, DateTime<Utc>), ()>,
}

impl Questions {
    pub(crate) fn new(pool: Pool, looker: Looker, per_second: NonZeroU32) -> Self {
        let decided =
            Cache::builder().max_capacity(SHOWS_MAX.into()).time_to_live(LEFT_KEPT).build();
        let all_decided =
            Cache::builder().max_capacity(SHOWS_MAX.into()).time_to_idle(NOTHING_LEFT_KEPT).build();
        let rate = DefaultDirectRateLimiter::direct(Quota::per_second(per_second));
        Self { pool, looker, rate, decided, all_decided }
    }

    /// Whether the booking was accepted before; `None` where that is not known now. Redis knows
    /// every booking accepted after `remembered_since`. Without that moment Redis is away, and
    /// nobody knows what was accepted lately.
    pub(crate) async fn was_accepted(
        &self,
        sale: &Sale,
        booking: BookingId,
        remembered_since: Option<DateTime<Utc>>,
    ) -> Option<bool> {
        self.ask()?;
        // Asked before the look: a booking decided between the two in the other order would be
        // neither found nor left.
        let nothing_is_left = match remembered_since {
            Some(since) => self.nothing_is_left(sale.show, since).await,
            None => None,
        };
        let look = self.looker.look(booking).await.ok()?;
        if look.view.is_some() {
            return Some(true);
        }
        let is_decided = sale.queues_are_gone(look.now)
            || remembered_since.is_some_and(|since| is_over(since, look.now))
            || nothing_is_left == Some(true);
        is_decided.then_some(false)
    }

    /// Whether the booking has its outcome; `None` where that is not known now.
    pub(crate) async fn is_decided(&self, booking: BookingId) -> Option<bool> {
        self.ask()?;
        Some(self.looker.look(booking).await.ok()?.view.is_some())
    }

    /// Counts a question; `None` where there are too many.
    fn ask(&self) -> Option<()> {
        metrics::counter!("usher_key_questions_total").increment(1);
        if self.rate.check().is_err() {
            metrics::counter!("usher_key_questions_refused_total").increment(1);
            return None;
        }
        Some(())
    }

    /// Whether every booking accepted before this moment is decided.
    async fn nothing_is_left(&self, show: ShowId, accepted_before: DateTime<Utc>) -> Option<bool> {
        if self.all_decided.get(&(show, accepted_before)).await.is_some() {
            return Some(true);
        }
        let read = async {
            let before = accepted_before + COUNTED_AFTER;
            if !acceptance::are_reported_of_before(&self.pool, before).await? {
                return store::StoreResult::Ok(false);
            }
            let found = backlogs::of_lines(&self.pool, &[show]).await?;
            let backlog = found.get(&show).copied().unwrap_or_default();
            // Bookings without a number are not counted.
            if is_drained(backlog, accepted_before)
                && acceptance::is_numbered_of_before(&self.pool, show, before).await?
            {
                return Ok(true);
            }
            // The queues of a busy show are never empty. Then the producers of that time tell,
            // which are all sealed after a minute or so.
            acceptance::is_decided_of_before(&self.pool, show, before).await
        };
        let is_decided = self.decided.try_get_with((show, accepted_before), read).await.ok()?;
        if is_decided {
            self.all_decided.insert((show, accepted_before), ()).await;
        }
        Some(is_decided)
    }
}

/// Whether a show's queues were found empty at a time when every booking accepted before this
/// moment had been counted.
fn is_drained(backlog: Backlog, accepted_before: DateTime<Utc>) -> bool {
    let looked_at = backlog.now - backlog.silent;
    backlog.undecided == 0 && looked_at >= accepted_before + COUNTED_AFTER
}

#[cfg(test)]
mod tests {
    use contract::{AccountId, booking_id::BookingIds};
    use futures_util::future::join_all;
    use platform::{Shutdown, clock};
    use testing::Slot;

    use super::*;

    #[tokio::test]
    async fn past_the_rate_nothing_is_asked_and_nothing_is_known() {
        let slot = Slot::take().await;
        let looker = Looker::new(slot.pool(), Shutdown::default());
        let questions = Questions::new(slot.pool(), looker, NonZeroU32::new(5).unwrap());
        let ids = BookingIds::new(&slot.master_key());
        let ask = async || {
            let booking = ids.fresh(AccountId::new(), clock::now());
            questions.is_decided(booking).await
        };
        let answers = join_all((0..50).map(|_| ask())).await;
        let answered = answers.iter().flatten().count();
        assert!((5..=10).contains(&answered), "{answered} of 50 at once, at 5 a second");
        assert!(answers.iter().flatten().all(|is_decided| !is_decided));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ask().await, Some(false), "the next second has questions of its own");
    }

    #[test]
    fn queues_are_drained_only_where_they_were_looked_at_after_all_was_counted() {
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        let drained = |undecided, silent, lost_s_ago| {
            let (oldest, silent) = (Duration::ZERO, Duration::from_secs(silent));
            let backlog = Backlog { undecided, oldest, silent, now };
            is_drained(backlog, now - Duration::from_secs(lost_s_ago))
        };
        assert!(drained(0, 0, 20));
        assert!(!drained(1, 0, 20), "it may be this one, however young the others are");
        assert!(!drained(0, 0, 9), "it may not have been counted yet");
        assert!(!drained(0, 19, 20), "nobody has looked since");
        assert!(!is_drained(Backlog::default(), now), "nothing is known");
    }
}
