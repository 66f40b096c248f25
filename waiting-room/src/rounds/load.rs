//! Loading the picture of a line, which the stream of changes then continues. Loads have a
//! connection of their own, so that a long or unreadable line does not delay the changes of others.

use std::{collections::HashSet, sync::Arc, time::Duration};

use contract::ShowId;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use platform::number::{float, whole};
use redis::{RedisError, RedisResult, aio::MultiplexedConnection, streams::StreamRangeReply};
use tracing::warn;

use super::connection::{RETRY, Whose, connect};
use crate::{
    config::LineSettings,
    line::{Line, index::Index, snapshot::Snapshot},
    room::WaitingRoom,
    scripts::progress::Progress,
};

/// How often a node looks for lines to load.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Most lines loaded at once.
const LOADS_MAX: usize = 16;
/// Places per read: a long line is read in many pages, between which Redis serves others.
const PAGE: usize = 5_000;
/// Longest hold of admission after a loss.
const HOLD_MS_MAX: u64 = 60_000;

/// Loads every line of this node whose picture is not whole, until the shutdown begins.
pub(crate) async fn keep_loaded(room: Arc<WaitingRoom>) {
    let mut connection = None;
    let mut failing = Failing::default();
    let mut loading = HashSet::new();
    let mut loads = FuturesUnordered::new();
    while !room.shutdown.has_begun() {
        let due = due(&room, &loading);
        metrics::gauge!("usher_lines_to_load").set(float(due.len() + loading.len()));
        for line in due.into_iter().take(LOADS_MAX - loading.len()) {
            let connection = match &connection {
                Some(connection) => MultiplexedConnection::clone(connection),
                None => match connect(&room).await {
                    Ok(made) => connection.insert(made).clone(),
                    Err(error) => {
                        failing.note_failure(&line, &error);
                        room.shutdown.sleep(RETRY).await;
                        break;
                    }
                },
            };
            loading.insert(line.show);
            let settings = &room.settings;
            loads.push(async move { (load(&line, connection, settings).await, line) });
        }
        tokio::select! {
            Some((loaded, line)) = loads.next(), if !loads.is_empty() => {
                loading.remove(&line.show);
                match loaded {
                    Ok(snapshot) => {
                        failing.is_over(line.show);
                        snapshot.map_or_else(|| line.load_later(), |found| line.install(found));
                    }
                    Err(error) => {
                        if failing.note_failure(&line, &error) == Whose::Store {
                            connection = None;
                        }
                    }
                }
            }
            _ = room.shutdown.sleep(LOOK_EVERY) => {}
        }
    }
}

/// Lines that are to be loaded and are not being loaded.
fn due(room: &WaitingRoom, loading: &HashSet<ShowId>) -> Vec<Arc<Line>> {
    let mut lines = room.lines();
    lines.retain(|line| line.is_due() && !loading.contains(&line.show));
    lines
}

/// What is failing now, so that each failure is logged once.
#[derive(Default)]
struct Failing {
    store: bool,
    /// Bounded by the board.
    lines: HashSet<ShowId>,
}

impl Failing {
    /// Notes that a load failed, and puts off the next one; returns whose fault it is.
    fn note_failure(&mut self, line: &Line, error: &RedisError) -> Whose {
        metrics::counter!("usher_line_load_failed_total").increment(1);
        line.load_later();
        let whose = Whose::is(error);
        match whose {
            Whose::Line if self.lines.insert(line.show) => {
                warn!(show = %line.show, "loading the line failed; trying again: {error}");
            }
            Whose::Store if !std::mem::replace(&mut self.store, true) => {
                warn!("loading lines failed; trying again: {error}");
            }
            _ => {}
        }
        whose
    }

    /// Notes that a line was loaded.
    fn is_over(&mut self, show: ShowId) {
        self.store = false;
        self.lines.remove(&show);
    }
}

/// Loads the picture of a line; `None` where Redis does not have it. Changes made while it is read
/// are applied again afterwards, which does no harm. `settings` say for how long visitors may come
/// back after a loss.
async fn load(
    line: &Line,
    mut connection: MultiplexedConnection,
    settings: &LineSettings,
) -> RedisResult<Option<Snapshot>> {
    let keys = &line.keys;
    let (mark, last, (seconds, micros)): (Vec<Option<String>>, StreamRangeReply, (u64, u64)) =
        redis::pipe()
            .atomic()
            .cmd("HMGET")
            .arg(keys.head())
            .arg(["epoch", "seq", "held_until", "counter"].as_slice())
            .cmd("XREVRANGE")
            .arg(keys.changes())
            .arg(["+", "-", "COUNT", "1"].as_slice())
            .cmd("TIME")
            .query_async(&mut connection)
            .await?;
    let field = |at: usize| mark.get(at).and_then(|field| field.as_deref()?.parse::<u64>().ok());
    let (Some(epoch), Some(seq), Some(_counter)) = (field(0), field(1), field(3)) else {
        return Ok(None);
    };
    let mut index = Index::default();
    let mut from = "-inf".to_owned();
    loop {
        let page: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(keys.line())
            .arg(&from)
            .arg(["+inf", "BYSCORE", "LIMIT", "0"].as_slice())
            .arg(PAGE)
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await?;
        for (_, rank) in &page {
            index.insert(whole(*rank));
        }
        match page.last() {
            Some((_, rank)) if page.len() == PAGE => from = format!("({rank}"),
            _ => break,
        }
    }
    metrics::counter!("usher_line_loaded_total").increment(1);
    let now_ms = seconds * 1000 + micros / 1000;
    // The first epoch follows no loss.
    let held_until = if epoch > 1 { field(2).unwrap_or(0) } else { 0 };
    let returns_ms = settings.returns_ms();
    let settles_at = if epoch > 1 { held_until + returns_ms } else { 0 };
    let settles_ms = settles_at.saturating_sub(now_ms).min(returns_ms + HOLD_MS_MAX);
    let lost_passes_ms = settings.lost_passes_ms();
    let taken_until = if epoch > 1 { held_until + lost_passes_ms } else { 0 };
    let taken_ms = taken_until.saturating_sub(now_ms).min(lost_passes_ms + HOLD_MS_MAX);
    let held_ms = held_until.saturating_sub(now_ms).min(HOLD_MS_MAX);
    Ok(Some(Snapshot {
        seen: Progress { epoch: u32::try_from(epoch).unwrap_or(u32::MAX), seq },
        last_id: last.ids.into_iter().next().map_or_else(|| "0-0".to_owned(), |entry| entry.id),
        index,
        settles_in: (settles_ms > 0).then(|| Duration::from_millis(settles_ms)),
        held_for: (held_ms > 0).then(|| Duration::from_millis(held_ms)),
        lost_passes_for: (taken_ms > 0).then(|| Duration::from_millis(taken_ms)),
    }))
}
