//! The stream of changes: what one entry says.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contract::TicketId;
use redis::{FromRedisValue as _, Value, streams::StreamId};

use super::progress::Progress;

/// One change of a line, made by one script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub at: Progress,
    /// The line was opened, or opened again after a loss.
    pub opened: bool,
    pub joined: Vec<u64>,
    pub gone: Vec<u64>,
    /// Gone from the line shortly before it was lost.
    pub recalled: Vec<u64>,
    pub left: Vec<TicketId>,
    pub expired: Vec<TicketId>,
    /// No node holds them any more.
    pub released: Vec<TicketId>,
    pub admitted: Vec<(TicketId, DateTime<Utc>)>,
}

impl Change {
    /// Reads an entry; `None` where it has no epoch and number. Words it does not know are
    /// skipped, so that a newer node can say more.
    pub(crate) fn read(entry: &StreamId) -> Option<Self> {
        let text = |field: &str| text(&entry.map, field);
        let admitted = text("p").unwrap_or_default();
        let admitted: Vec<&str> = admitted.split_whitespace().collect();
        let admitted = admitted.chunks_exact(2).filter_map(|pair| {
            let at = DateTime::from_timestamp_millis(pair[1].parse().ok()?)?;
            Some((pair[0].parse().ok()?, at))
        });
        Some(Self {
            at: Progress { epoch: text("e")?.parse().ok()?, seq: text("s")?.parse().ok()? },
            opened: text("o").is_some(),
            joined: list(text("j")),
            gone: list(text("g")),
            recalled: list(text("y")),
            left: list(text("l")),
            expired: list(text("x")),
            released: list(text("r")),
            admitted: admitted.collect(),
        })
    }
}

fn text(fields: &HashMap<String, Value>, field: &str) -> Option<String> {
    fields.get(field).cloned().and_then(|value| String::from_redis_value(value).ok())
}

fn list<T: std::str::FromStr>(words: Option<String>) -> Vec<T> {
    words.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
