//! Whether a booking was accepted, asked of PostgreSQL where Redis cannot tell: at a bounded rate,
//! whatever is asked of this node.

use std::{num::NonZeroU32, time::Duration};

use chrono::{DateTime, Utc};
use contract::{BookingId, ShowId};
use governor::{DefaultDirectRateLimiter, Quota};
use moka::future::Cache;
use store::{
    PgPool,
    backlogs::{self, Backlog},
    board::Sale,
    bookings::{Looker, is_over},
};

/// Questions a second; they share queries.
pub(crate) const PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// How long it takes until what was accepted is counted, and an allocator has looked and said so.
const COUNTED_AFTER: Duration = Duration::from_secs(4);
/// How long what is known of a show's queues is good for.
const BACKLOG_KEPT: Duration = Duration::from_secs(1);
/// How far the clocks by which a booking was accepted and a memory began may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(1);
const SHOWS_MAX: u64 = 10_000;

/// Asks whether bookings were accepted.
pub(crate) struct Questions {
    pool: PgPool,
    looker: Looker,
    rate: DefaultDirectRateLimiter,
    backlogs: Cache<ShowId, Backlog>,
}

impl Questions {
    pub(crate) fn new(pool: PgPool, looker: Looker, per_second: NonZeroU32) -> Self {
        let backlogs = Cache::builder().max_capacity(SHOWS_MAX).time_to_live(BACKLOG_KEPT).build();
        let rate = DefaultDirectRateLimiter::direct(Quota::per_second(per_second));
        Self { pool, looker, rate, backlogs }
    }

    /// Whether the booking was accepted before; nothing where that cannot be told just now. Redis
    /// remembers all that came after `remembered_since`; it is away where there is no such moment:
    /// then nobody knows what was accepted a moment ago.
    pub(crate) async fn was_accepted(
        &self,
        sale: &Sale,
        booking: BookingId,
        remembered_since: Option<DateTime<Utc>>,
    ) -> Option<bool> {
        self.ask()?;
        // Before the look: what is decided after it would be neither found nor left.
        let backlog = match remembered_since {
            Some(_) => self.backlog(sale.show).await,
            None => None,
        };
        let look = self.looker.look(booking).await.ok()?;
        if look.seen.is_some() {
            return Some(true);
        }
        let is_decided = sale.queues_are_gone(look.now)
            || remembered_since.is_some_and(|since| {
                is_over(since, look.now)
                    || backlog.is_some_and(|backlog| nothing_is_left(backlog, since))
            });
        is_decided.then_some(false)
    }

    /// Whether the booking has its outcome; nothing where that cannot be told just now.
    pub(crate) async fn is_decided(&self, booking: BookingId) -> Option<bool> {
        self.ask()?;
        Some(self.looker.look(booking).await.ok()?.seen.is_some())
    }

    /// Nothing where too much is asked already.
    fn ask(&self) -> Option<()> {
        metrics::counter!("usher_key_questions_total").increment(1);
        if self.rate.check().is_err() {
            metrics::counter!("usher_key_questions_refused_total").increment(1);
            return None;
        }
        Some(())
    }

    async fn backlog(&self, show: ShowId) -> Option<Backlog> {
        let read = async {
            let found = backlogs::of_lines(&self.pool, &[show]).await?;
            store::StoreResult::Ok(found.get(&show).copied().unwrap_or_default())
        };
        self.backlogs.try_get_with(show, read).await.ok()
    }
}

/// Whether all that was accepted before this moment had been decided when the backlog was read.
fn nothing_is_left(backlog: Backlog, accepted_before: DateTime<Utc>) -> bool {
    let looked_at = backlog.now - backlog.silent;
    let oldest_at = backlog.now - backlog.oldest;
    let is_younger = !backlog.oldest.is_zero() && oldest_at > accepted_before + CLOCKS_APART;
    looked_at >= accepted_before + COUNTED_AFTER && (backlog.undecided == 0 || is_younger)
}

#[cfg(test)]
mod tests {
    use contract::{AccountId, booking_id::BookingIds};
    use futures_util::future::join_all;
    use platform::{Shutdown, clock};
    use store::testing::Slot;

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
    fn what_is_not_decided_was_not_accepted_only_where_the_queues_have_nothing_so_old() {
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        let seconds = Duration::from_secs;
        let left = |undecided, oldest, silent, lost_s_ago: u64| {
            let (oldest, silent) = (seconds(oldest), seconds(silent));
            let backlog = Backlog { undecided, oldest, silent, now };
            nothing_is_left(backlog, now - seconds(lost_s_ago))
        };
        assert!(left(0, 0, 0, 10));
        assert!(left(5, 2, 0, 10), "all of these were accepted after the loss");
        assert!(!left(5, 12, 0, 10), "one of them may be it");
        assert!(!left(5, 0, 0, 10), "their age is not known");
        assert!(!left(0, 0, 0, 2), "it may not have been counted yet");
        assert!(!left(0, 0, 9, 10), "nobody has looked since");
    }
}
