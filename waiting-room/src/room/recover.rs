//! Opening a line, and opening it again after Redis has lost it.

use std::time::Duration;

use contract::{ShowId, api::line::PlaceState, place_ticket::Place};
use futures_util::future::try_join_all;
use store::{
    PgPool, admissions, detached,
    line::{self as log, LineMark},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Room;
use crate::{
    LineError,
    line::{Line, gate, signal::Signal},
    places::{self, Life, admitted},
    scripts::{LineStore, answers::Whereabouts, keys::Keys},
};

/// A node that has begun an epoch tells Redis of it within this, or has died over it.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Opens a line that Redis does not have, to its end even when the request that wanted it goes
/// away. Any number of nodes may do so at once.
pub(crate) async fn open(room: &Room, line: &Line) -> Result<(), LineError> {
    open_as(room, line, true).await
}

/// As [`open`], but leaves a line alone that nobody has joined yet.
pub(crate) async fn open_again(room: &Room, line: &Line) -> Result<(), LineError> {
    open_as(room, line, false).await
}

async fn open_as(room: &Room, line: &Line, may_be_new: bool) -> Result<(), LineError> {
    let (pool, store, keys) = (room.pool.clone(), room.store.clone(), line.keys.clone());
    let (show, hold_ms) = (line.show, room.settings.rebuild_ms());
    let (passes, now) = (room.passes.clone(), room.now());
    let known = line.known().epoch;
    let opened = detached(async move {
        let mark = if may_be_new {
            Some(log::find_or_open(&pool, show).await?)
        } else {
            log::find(&pool, show).await?
        };
        match mark {
            Some(mark) => {
                open_under(&pool, &store, &keys, show, known, mark, hold_ms).await?;
                if mark.high_water > 0 {
                    admitted::restore(&pool, &store, &passes, &keys, show, now).await?;
                }
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
    pool: &PgPool,
    store: &LineStore,
    keys: &Keys,
    show: ShowId,
    known: u32,
    mark: LineMark,
    rebuild_ms: u64,
) -> Result<(), LineError> {
    // Numbers are reserved only once Redis has the line: without any, nothing can be lost.
    if mark.high_water == 0 {
        return store.open(keys, mark, 0).await;
    }
    // With some, Redis had it when the mark was read. If it has it now, it was opened just then. An
    // epoch that this node has not seen was begun by another, which is about to tell Redis.
    let patience = if mark.epoch > known { TOLD_WITHIN } else { Duration::ZERO };
    if is_opened(store, keys, patience).await? {
        return Ok(());
    }
    let mark = match log::begin_epoch_after(pool, show, mark.epoch).await? {
        Some(next) => {
            metrics::counter!("usher_line_rebuilt_total").increment(1);
            warn!(%show, epoch = next.epoch, "redis had lost the line; it begins anew");
            next
        }
        None => log::find_or_open(pool, show).await?,
    };
    store.open(keys, mark, rebuild_ms).await
}

async fn is_opened(store: &LineStore, keys: &Keys, patience: Duration) -> Result<bool, LineError> {
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

/// Finds out what became of visitors who are not in the line, and tells them. Those whom the store
/// has lost go back to their places; they are returned.
pub(crate) async fn find_out(
    room: &Room,
    line: &Line,
    missing: &[(Place, Whereabouts)],
) -> Result<Vec<Place>, LineError> {
    for (place, whereabouts) in missing {
        let ended = match whereabouts {
            Whereabouts::Left => PlaceState::Left,
            Whereabouts::Expired => PlaceState::Expired,
            _ => continue,
        };
        line.signal(place.ticket, Signal::Ended(ended));
    }
    let unsure = missing.iter().filter(|(_, whereabouts)| {
        matches!(whereabouts, Whereabouts::Admitted | Whereabouts::Unknown)
    });
    let unsure: Vec<Place> = unsure.map(|(place, _)| place.clone()).collect();
    let lost = tell_admitted(room, line, &unsure).await?;
    let mut back = Vec::new();
    for place in &lost {
        back.push(put_back(room, line, place));
    }
    try_join_all(back).await?;
    Ok(lost)
}

/// Tells those who are in the log that they are admitted; returns the others.
async fn tell_admitted(
    room: &Room,
    line: &Line,
    places: &[Place],
) -> Result<Vec<Place>, LineError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let tickets: Vec<_> = places.iter().map(|place| place.ticket).collect();
    let logged = admissions::of_tickets(&room.pool, line.show, &tickets).await?;
    for admission in &logged {
        let signal = match admitted::life(*admission) {
            Life::Ended(ended) => Signal::Ended(ended),
            _ => Signal::Admitted(*admission),
        };
        line.signal(admission.ticket, signal);
    }
    let waits = |place: &&Place| !logged.iter().any(|known| known.ticket == place.ticket);
    Ok(places.iter().filter(waits).cloned().collect())
}

async fn put_back(room: &Room, line: &Line, place: &Place) -> Result<(), LineError> {
    let Some((sale, _)) = room.sale(line.show) else { return Ok(()) };
    let back = Some((place.clone(), gate::was_drawn(&sale, place.joined_at)));
    let (_, _, spot) = places::claim(room, line, &sale, place.account, back).await?;
    if spot.place.ticket != place.ticket {
        // The account has another place by now.
        let ended = PlaceState::Expired;
        line.signal(place.ticket, Signal::Ended(ended));
    }
    Ok(())
}
