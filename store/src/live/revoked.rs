//! Passes that were revoked before their time. Passes are checked offline, so every node that
//! checks them reads the revocations a few times a second.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use contract::TicketId;
use platform::{Shutdown, number::float};
use tracing::warn;

use crate::{Pool, StoreResult};

const REFRESH: Duration = Duration::from_millis(250);
/// Longest time from a row's `revoked_at` to its commit.
const REVOKE_TO_COMMIT_MAX: TimeDelta = TimeDelta::seconds(10);
/// How long revocations are kept: no pass is expected to live longer.
const KEPT: TimeDelta = TimeDelta::days(1);
/// Most passes in memory. Beyond it the oldest are forgotten here; the transaction that decides
/// knows all.
const REVOKED_MAX: usize = 100_000;
/// Rows read by one query.
const PAGE: i64 = 10_000;

/// The revoked passes, as of a moment ago. Cheap to clone.
#[derive(Clone, Default)]
pub struct Revoked(Arc<RwLock<Tickets>>);

#[derive(Default)]
struct Tickets {
    known: HashSet<TicketId>,
    by_time: BTreeSet<(DateTime<Utc>, TicketId)>,
}

impl Revoked {
    /// Reads the recent revocations, and reads on until the shutdown begins.
    pub async fn watch(pool: Pool, shutdown: &Shutdown) -> StoreResult<Self> {
        let revoked = Self::default();
        let mut after = revoked.read(&pool, None).await?;
        let (reading, stop) = (revoked.clone(), shutdown.clone());
        shutdown.spawn_vital("revoked passes", async move {
            while stop.sleep(REFRESH).await {
                match reading.read(&pool, after).await {
                    Ok(last) => after = last,
                    Err(error) => {
                        metrics::counter!("usher_revoked_read_failed_total").increment(1);
                        warn!("revoked passes cannot be read: {:#}", anyhow::Error::from(error));
                        stop.sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        Ok(revoked)
    }

    /// Whether this place's pass was revoked.
    #[must_use]
    pub fn contains(&self, ticket: TicketId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.contains(&ticket)
    }

    /// Reads the revocations after `after`; returns where to begin the next time.
    async fn read(
        &self,
        pool: &Pool,
        after: Option<DateTime<Utc>>,
    ) -> StoreResult<Option<DateTime<Utc>>> {
        let mut after = after;
        loop {
            let rows = sqlx::query!(
                r#"select ticket_id, revoked_at as "revoked_at!" from admissions
                   where revoked_at > coalesce($1, statement_timestamp() - interval '1 day')
                   order by revoked_at
                   limit $2"#,
                after,
                PAGE,
            )
            .fetch_all(pool)
            .await?;
            let is_last = i64::try_from(rows.len()) != Ok(PAGE);
            let mut tickets = self.0.write().unwrap_or_else(PoisonError::into_inner);
            for row in &rows {
                tickets.add(row.revoked_at, TicketId(row.ticket_id));
            }
            let last = rows.last().map(|row| row.revoked_at);
            if is_last {
                // Read again from a little earlier, for rows that are committed late.
                return Ok(tickets.by_time.last().map(|(time, _)| *time - REVOKE_TO_COMMIT_MAX));
            }
            after = last.or(after);
        }
    }
}

impl Tickets {
    fn add(&mut self, time: DateTime<Utc>, ticket: TicketId) {
        if self.known.insert(ticket) {
            self.by_time.insert((time, ticket));
        }
        while let Some((oldest, ticket)) = self.by_time.first().copied()
            && (self.by_time.len() > REVOKED_MAX || oldest < time - KEPT)
        {
            self.by_time.remove(&(oldest, ticket));
            self.known.remove(&ticket);
        }
        metrics::gauge!("usher_revoked_passes").set(float(self.known.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut tickets = Tickets::default();
        let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let (first, second) = (TicketId::new(), TicketId::new());
        tickets.add(start, first);
        tickets.add(start, first);
        tickets.add(start + KEPT, second);
        assert!(tickets.known.contains(&first), "a day is not over");
        tickets.add(start + KEPT + TimeDelta::seconds(1), TicketId::new());
        assert!(!tickets.known.contains(&first) && tickets.known.contains(&second));
        assert_eq!(tickets.known.len(), tickets.by_time.len());
    }
}
