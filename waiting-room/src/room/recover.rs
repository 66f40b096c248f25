//! Opening a line, and opening it again after Redis has lost it.

use std::time::Duration;

use contract::{ShowId, TicketId};
use store::{
    Pool, admissions, detached,
    line_marks::{self, LineMark},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::WaitingRoom;
use crate::{
    LineError,
    line::Line,
    scripts::{LineStore, keys::LineKeys},
};

/// Longest wait for a node that has begun an epoch to open the line in Redis; after that the node
/// counts as dead.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Admissions put back at a time.
const PAGE: i64 = 1_000;

/// Opens a line that Redis does not have; the work goes on even if the request is dropped. Any
/// number of nodes may do so at once.
pub(crate) async fn open(room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
    open_as(room, line, true).await
}

/// As [`open`], but only for a line that has been joined before.
pub(crate) async fn open_again(room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
    open_as(room, line, false).await
}

async fn open_as(room: &WaitingRoom, line: &Line, may_be_new: bool) -> Result<(), LineError> {
    let (pool, store, keys) = (room.pool.clone(), room.store.clone(), line.keys.clone());
    let (show, hold_ms) = (line.show, room.settings.rebuild_ms());
    let known = line.known().epoch;
    let opened = detached(async move {
        let mark = if may_be_new {
            Some(line_marks::find_or_open(&pool, show).await?)
        } else {
            line_marks::find(&pool, show).await?
        };
        match mark {
            Some(mark) => {
                open_under(&pool, &store, &keys, show, known, mark, hold_ms).await?;
                Ok::<_, LineError>(true)
            }
            None => Ok(false),
        }
    });
    if opened.await? {
        line.mark_stale();
    }
    Ok(())
}

async fn open_under(
    pool: &Pool,
    store: &LineStore,
    keys: &LineKeys,
    show: ShowId,
    known: u32,
    mark: LineMark,
    rebuild_ms: u64,
) -> Result<(), LineError> {
    // Numbers are reserved only once Redis has the line: if none are, no place can be lost.
    if mark.high_water == 0 {
        return store.open(keys, mark, 0).await;
    }
    // Numbers are reserved, so Redis had the line once. If it has the line now, another node has
    // just opened it. An epoch that is new to this node was begun by another one, which is about to
    // open the line in Redis.
    let patience = if mark.epoch > known { TOLD_WITHIN } else { Duration::ZERO };
    if is_opened(store, keys, patience).await? {
        return Ok(());
    }
    let mark = match line_marks::begin_epoch_after(pool, show, mark.epoch).await? {
        Some(next) => {
            metrics::counter!("usher_line_rebuilt_total").increment(1);
            warn!(%show, epoch = next.epoch, "redis has lost the line; it begins anew");
            next
        }
        None => line_marks::find_or_open(pool, show).await?,
    };
    store.open(keys, mark, rebuild_ms).await
}

async fn is_opened(
    store: &LineStore,
    keys: &LineKeys,
    patience: Duration,
) -> Result<bool, LineError> {
    let until = Instant::now() + patience;
    loop {
        if store.has(keys).await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Makes visitors with a valid pass active again after a loss, so that they count against the cap.
/// Nobody is admitted before all of them are; where it fails, the rounds do it again.
pub(crate) async fn restore(room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
    let Some(epoch) = room.store.to_restore(&line.keys).await? else { return Ok(()) };
    let now = room.now();
    let mut after = (room.passes.all_over_before(now), TicketId(uuid::Uuid::nil()));
    loop {
        let page = admissions::unspent_after(&room.rounds, line.show, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.admitted_at, last.ticket);
        let valid =
            page.into_iter().map(|admission| (admission, room.passes.left(&admission, now)));
        let valid: Vec<_> = valid.filter(|(_, left)| !left.is_zero()).collect();
        if !valid.is_empty() {
            room.store.settle(&line.keys, valid.into_iter()).await?;
        }
    }
    room.store.restored(&line.keys, epoch).await
}
