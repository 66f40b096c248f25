//! Reading an entry of the stream of changes.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contract::TicketId;
use redis::{FromRedisValue as _, Value, streams::StreamId};

use super::progress::Progress;

/// The fields of an entry, one letter each. They do not change, since nodes of different versions
/// read each other's entries.
mod field {
    pub(super) const EPOCH: &str = "e";
    pub(super) const SEQ: &str = "s";
    pub(super) const OPENED: &str = "o";
    pub(super) const JOINED: &str = "j";
    pub(super) const GONE: &str = "g";
    pub(super) const RECALLED: &str = "y";
    pub(super) const LEFT: &str = "l";
    pub(super) const EXPIRED: &str = "x";
    pub(super) const RELEASED: &str = "r";
    pub(super) const ADMITTED: &str = "p";
}

/// One change of a line, made by one script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineChange {
    pub(crate) at: Progress,
    /// The line was opened, or opened again after a loss.
    pub(crate) opened: bool,
    pub(crate) joined: Vec<u64>,
    pub(crate) gone: Vec<u64>,
    /// Ranks that left the line shortly before it was lost.
    pub(crate) recalled: Vec<u64>,
    pub(crate) left: Vec<TicketId>,
    pub(crate) expired: Vec<TicketId>,
    /// Visitors whom no node holds any more.
    pub(crate) released: Vec<TicketId>,
    pub(crate) admitted: Vec<(TicketId, DateTime<Utc>)>,
}

impl LineChange {
    /// Reads an entry; `None` where it has no epoch or number. Unknown fields are skipped, so that
    /// a newer node can write more.
    pub(crate) fn read(entry: &StreamId) -> Option<Self> {
        let text = |field: &str| text(&entry.map, field);
        let admitted = text(field::ADMITTED).unwrap_or_default();
        let admitted: Vec<&str> = admitted.split_whitespace().collect();
        let admitted = admitted.chunks_exact(2).filter_map(|pair| {
            let at = DateTime::from_timestamp_millis(pair[1].parse().ok()?)?;
            Some((pair[0].parse().ok()?, at))
        });
        Some(Self {
            at: Progress {
                epoch: text(field::EPOCH)?.parse().ok()?,
                seq: text(field::SEQ)?.parse().ok()?,
            },
            opened: text(field::OPENED).is_some(),
            joined: list(text(field::JOINED)),
            gone: list(text(field::GONE)),
            recalled: list(text(field::RECALLED)),
            left: list(text(field::LEFT)),
            expired: list(text(field::EXPIRED)),
            released: list(text(field::RELEASED)),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::field;

    /// The letters in quotes that follow `begin` in a script, up to the end of the line.
    fn letters_after<'a>(script: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
        let calls = script.split(begin).skip(1);
        let lines = calls.map(|call| call.lines().next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split('\'').skip(1).step_by(2));
        words.filter(|word| word.len() == 1 && word.starts_with(char::is_alphabetic))
    }

    #[test]
    fn the_scripts_write_the_fields_that_are_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let scripts: Vec<String> = files
            .filter(|file| file.extension().is_some_and(|one| one == "lua"))
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let written = scripts.iter().flat_map(|script| {
            letters_after(script, "tell(").chain(letters_after(script, "'XADD'"))
        });
        let read = [
            field::EPOCH,
            field::SEQ,
            field::OPENED,
            field::JOINED,
            field::GONE,
            field::RECALLED,
            field::LEFT,
            field::EXPIRED,
            field::RELEASED,
            field::ADMITTED,
        ];
        assert_eq!(written.collect::<BTreeSet<_>>(), BTreeSet::from(read));
    }
}
