//! The line's format in Redis, for the tests and the bench, which look at it from outside.

use contract::{AccountId, ShowId, TicketId};
use redis::{ScriptInvocation, streams::StreamId};

use crate::scripts::{
    Joiner,
    change::LineChange,
    joining,
    keys::{self, LineKeys},
    progress::Progress,
};

/// The names of a line's keys, in the order of every script's `KEYS`.
pub const KEYS: [&str; keys::NAMES.len()] = keys::NAMES;

/// The key of a show's line with this name.
#[must_use]
pub fn key(show: ShowId, name: &str) -> String {
    keys::key(show, name)
}

/// A call by which a new account joins a line that has numbers left.
#[must_use]
pub fn join(show: ShowId) -> ScriptInvocation<'static> {
    let (account, ticket) = (AccountId::new(), TicketId::new());
    let joiner = Joiner { account, ticket, joined_at: 0, rule: None, back: None };
    joining(&LineKeys::of(show), [&joiner].into_iter(), b"secret", None, Progress::default())
}

/// The ranks that left the line by one change.
#[derive(Debug)]
pub struct Gone {
    /// By Redis's clock.
    pub at_ms: u64,
    pub ranks: Vec<u64>,
    /// Whether they were taken to be admitted. If not, they left, expired, or are announced again
    /// after a loss.
    pub to_be_admitted: bool,
}

impl Gone {
    /// Reads an entry of the stream; `None` where it cannot be read.
    #[must_use]
    pub fn read(entry: &StreamId) -> Option<Self> {
        let change = LineChange::read(entry)?;
        let is_other =
            !(change.left.is_empty() && change.expired.is_empty() && change.admitted.is_empty());
        let at_ms = entry.id.split_once('-')?.0.parse().ok()?;
        Some(Self { at_ms, ranks: change.gone, to_be_admitted: !is_other })
    }
}
