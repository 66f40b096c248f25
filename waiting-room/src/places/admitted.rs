//! Admitted visitors: what the log of admissions says about them, until when their passes are
//! valid, and which used passes free their slots.

use std::iter;

use chrono::{DateTime, TimeDelta, Utc};
use contract::{TicketId, api::line::PlaceState};
use store::admissions::{self, Admission, Spent};

use super::found::Life;
use crate::{
    LineError,
    line::Line,
    room::{WaitingRoom, passes::Validity},
};

/// Used passes read at a time.
const PAGE: i64 = 1_000;
/// Pages of used passes read in one round; the rest follows a second later.
const PAGES_MAX: u32 = 10;
/// Longest time between the timestamp of a confirmation and its commit.
const CONFIRM_TO_COMMIT_MAX: TimeDelta = TimeDelta::seconds(6);

/// What the log of admissions says about a ticket.
pub(crate) async fn find(
    room: &WaitingRoom,
    line: &Line,
    ticket: TicketId,
) -> Result<Option<Admission>, LineError> {
    let found = admissions::of_tickets(&room.pool, line.show, &[ticket]).await?;
    Ok(found.into_iter().next())
}

/// The life of a place that was admitted.
pub(crate) fn life(admission: Admission) -> Life {
    match admission.spent {
        None => Life::Admitted(admission),
        Some(Spent::Revoked) => Life::Ended(PlaceState::Left),
        Some(Spent::Used) => Life::Ended(PlaceState::Expired),
    }
}

/// Until when an admitted visitor may book; a pass that is near its end is renewed. `None` where
/// the pass has expired or is spent.
pub(crate) async fn expiry(
    room: &WaitingRoom,
    line: &Line,
    admission: &Admission,
) -> Option<DateTime<Utc>> {
    let (ticket, now) = (admission.ticket, room.now());
    // `None` where Redis does not answer.
    let is_active = room.store.is_active(&line.keys, ticket).await.ok();
    let told = room.passes.validity(admission, room.passes.expiry(admission), now);
    // The log is asked where Redis does not count the visitor as active (the slot was freed, or
    // Redis is away or lost it), and where another node may have renewed the pass.
    let admission = if is_active == Some(true) && matches!(told, Validity::Until(_)) {
        *admission
    } else {
        match find(room, line, ticket).await {
            Ok(Some(logged)) if logged.spent.is_some() => return None,
            Ok(Some(logged)) => logged,
            Ok(None) | Err(_) => *admission,
        }
    };
    let expires_at = room.passes.expiry(&admission);
    match room.passes.validity(&admission, expires_at, now) {
        Validity::Until(time) => {
            if is_active == Some(false) {
                // Where this fails, the next look does it.
                count_until(room, line, admission, time).await;
            }
            Some(time)
        }
        Validity::Renewed(time) => {
            // In Redis first, so that no pass is valid that takes no slot; then in the log, so that
            // the pass stays valid after a loss of Redis.
            if !count_until(room, line, admission, time).await {
                return Some(expires_at);
            }
            match admissions::renew(&room.pool, line.show, ticket, time).await {
                Ok(true) => Some(time),
                Ok(false) => None,
                Err(_) => Some(expires_at),
            }
        }
        Validity::Expired => None,
    }
}

/// Counts an admitted visitor against the cap until this time; `false` where Redis does not answer
/// or has lost the line.
async fn count_until(
    room: &WaitingRoom,
    line: &Line,
    admission: Admission,
    until: DateTime<Utc>,
) -> bool {
    let left = (until - room.now()).to_std().unwrap_or_default();
    let counted = room.store.settle(&line.keys, iter::once((admission, left))).await;
    counted.is_ok_and(|new| new.is_some())
}

/// Frees the slots of passes that were used since `after`; returns the time to go on from.
pub(crate) async fn free_used(
    room: &WaitingRoom,
    line: &Line,
    after: Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, LineError> {
    let mut after = after.unwrap_or_else(|| room.passes.all_over_before(room.now()));
    for _ in 0..PAGES_MAX {
        let used = admissions::used_after(&room.rounds, line.show, after, PAGE).await?;
        let tickets: Vec<TicketId> = used.iter().map(|(ticket, _)| *ticket).collect();
        if !tickets.is_empty() {
            let freed = room.store.used(&line.keys, &tickets).await?;
            metrics::counter!("usher_line_passes_used_total").increment(freed);
        }
        match used.last() {
            Some((_, last)) if i64::try_from(used.len()) == Ok(PAGE) => after = *last,
            last => {
                let last = last.map_or(after, |(_, last)| *last - CONFIRM_TO_COMMIT_MAX);
                return Ok(last.max(after));
            }
        }
    }
    Ok(after)
}
