//! Reading the stream of changes: one connection per node, whatever it watches.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, RedisResult,
    aio::MultiplexedConnection,
    streams::{StreamRangeReply, StreamReadReply},
};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::{
    change::{Change, Snapshot},
    index::Index,
    line::{Applied, Line, Progress},
    room::Room,
};

/// A read waits so long for changes; a line that is new to this node is read after that at most.
const BLOCK: Duration = Duration::from_millis(100);
/// The pause between two reads. When many join, one read brings the changes of all of them, and a
/// join waits a little for it; after a lull a change comes at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Entries per read and line.
const ENTRIES_MAX: usize = 2_000;
/// After so long in one round, further lines are loaded in the next: changes of the others wait.
const LOAD_MAX: Duration = Duration::from_millis(100);
/// Members of the line per read, when the picture is loaded.
const PAGE: usize = 5_000;
/// Admission is never held longer after a loss.
const HOLD_MS_MAX: u64 = 60_000;
const RETRY: Duration = Duration::from_millis(200);

/// Keeps every line of this node up to date until the shutdown begins.
pub(crate) async fn follow(room: Arc<Room>) {
    let mut connection = None;
    let mut failing = false;
    while !room.shutdown.has_begun() {
        let next_read = Instant::now() + PAUSE;
        let followed = match &mut connection {
            Some(connection) => round(&room, connection).await,
            None => connect(&room).await.map(|made| connection = Some(made)),
        };
        match followed {
            Ok(()) => {
                failing = false;
                sleep_until(next_read).await;
            }
            Err(error) => {
                metrics::counter!("usher_line_follow_failed_total").increment(1);
                if !std::mem::replace(&mut failing, true) {
                    warn!("the changes of the line cannot be read: {error}");
                }
                connection = None;
                room.shutdown.sleep(RETRY).await;
            }
        }
    }
}

async fn connect(room: &Room) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(BLOCK + Duration::from_secs(1)));
    room.store.cache.client().get_multiplexed_async_connection_with_config(&config).await
}

async fn round(room: &Room, connection: &mut MultiplexedConnection) -> RedisResult<()> {
    // A line is not in hand while the read waits: nobody might be in it any more.
    let mut read: Vec<(Weak<Line>, String, String)> = Vec::new();
    let begun = Instant::now();
    for line in room.lines() {
        let line = &line;
        if line.read_from().is_none() && line.is_due() && begun.elapsed() < LOAD_MAX {
            match load(line, connection, room.settings.returns_ms()).await? {
                Some(snapshot) => line.install(snapshot),
                None => line.is_missing(),
            }
        }
        if let Some(id) = line.read_from() {
            read.push((Arc::downgrade(line), line.keys.changes().to_owned(), id));
        }
    }
    if read.is_empty() {
        room.shutdown.sleep(BLOCK / 4).await;
        return Ok(());
    }
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(ENTRIES_MAX).arg("BLOCK").arg(BLOCK.as_millis() as usize);
    command.arg("STREAMS");
    for (_, stream, _) in &read {
        command.arg(stream);
    }
    for (_, _, id) in &read {
        command.arg(id);
    }
    let reply: Option<StreamReadReply> = command.query_async(connection).await?;
    for stream in reply.into_iter().flat_map(|reply| reply.keys) {
        let known = read.iter().find(|(_, name, _)| *name == stream.key);
        let Some(line) = known.and_then(|(line, _, _)| line.upgrade()) else { continue };
        for entry in stream.ids {
            let applied = Change::read(&entry).map(|change| line.apply(&entry.id, change));
            if applied != Some(Applied::Yes) {
                line.mark_stale();
                break;
            }
        }
    }
    Ok(())
}

/// Loads the picture of a line; `None` where the store does not have it. Changes made while it is
/// read are applied again afterwards, which changes nothing. After a loss, visitors may come back
/// for so long after admission goes on.
async fn load(
    line: &Line,
    connection: &mut MultiplexedConnection,
    returns_ms: u64,
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
            .query_async(connection)
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
            .query_async(connection)
            .await?;
        for (_, rank) in &page {
            index.insert(rank_of(*rank));
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
    let settles_at = if epoch > 1 { held_until + returns_ms } else { 0 };
    let settles_ms = settles_at.saturating_sub(now_ms).min(returns_ms + HOLD_MS_MAX);
    let held_ms = held_until.saturating_sub(now_ms).min(HOLD_MS_MAX);
    Ok(Some(Snapshot {
        seen: Progress { epoch: u32::try_from(epoch).unwrap_or(u32::MAX), seq },
        last_id: last.ids.into_iter().next().map_or_else(|| "0-0".to_owned(), |entry| entry.id),
        index,
        settles_in: (settles_ms > 0).then(|| Duration::from_millis(settles_ms)),
        held_for: (held_ms > 0).then(|| Duration::from_millis(held_ms)),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the scripts write whole ranks below 2^53"
)]
fn rank_of(score: f64) -> u64 {
    score as u64
}
