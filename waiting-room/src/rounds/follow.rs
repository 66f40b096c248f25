//! Reading the streams of changes of all lines, on one connection per node.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{RedisResult, aio::MultiplexedConnection, streams::StreamReadReply};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::connection::{BLOCK, RETRY, Whose, connect};
use crate::{
    line::{Applied, Line},
    room::WaitingRoom,
    scripts::change::LineChange,
};

/// The pause between two reads, so that in a rush one read brings the changes of many joins. After
/// a lull a change is read at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Entries per read and line.
const ENTRIES_MAX: usize = 2_000;

/// Keeps each loaded line up to date, until the shutdown begins.
pub(crate) async fn follow(room: Arc<WaitingRoom>) {
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
                    warn!("reading the changes of the lines failed; trying again: {error}");
                }
                connection = None;
                room.shutdown.sleep(RETRY).await;
            }
        }
    }
}

async fn round(room: &WaitingRoom, connection: &mut MultiplexedConnection) -> RedisResult<()> {
    // Weak, so that a read that waits does not keep an empty line tended.
    let mut read: Vec<(Weak<Line>, String, String)> = Vec::new();
    for line in &room.lines() {
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
    let reply = match command.query_async::<Option<StreamReadReply>>(connection).await {
        Ok(reply) => reply,
        Err(error) if Whose::is(&error) == Whose::Line => {
            return set_apart(&read, connection).await?.then_some(()).ok_or(error);
        }
        Err(error) => return Err(error),
    };
    for stream in reply.into_iter().flat_map(|reply| reply.keys) {
        let known = read.iter().find(|(_, name, _)| *name == stream.key);
        let Some(line) = known.and_then(|(line, _, _)| line.upgrade()) else { continue };
        for entry in stream.ids {
            let applied = LineChange::read(&entry).map(|change| line.apply(&entry.id, change));
            if applied != Some(Applied::Yes) {
                line.mark_stale();
                break;
            }
        }
    }
    Ok(())
}

/// A key of the wrong type fails the read of all streams. Its line is marked to be loaded, and not
/// read until that succeeds. Returns whether there is such a key.
async fn set_apart(
    read: &[(Weak<Line>, String, String)],
    connection: &mut MultiplexedConnection,
) -> RedisResult<bool> {
    let mut types = redis::pipe();
    for (_, stream, _) in read {
        types.cmd("TYPE").arg(stream);
    }
    let types: Vec<String> = types.query_async(connection).await?;
    let is_other = |is: &str| !matches!(is, "stream" | "none");
    let mut any = false;
    for ((line, _, _), _) in read.iter().zip(types).filter(|(_, is)| is_other(is)) {
        any = true;
        if let Some(line) = line.upgrade() {
            line.mark_stale();
        }
    }
    Ok(any)
}
