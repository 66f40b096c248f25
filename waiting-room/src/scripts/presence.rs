//! Presence in Redis: visitors heard of themselves, or held by a node.

use std::time::Duration;

use contract::{ShowId, TicketId};
use platform::number::millis;
use uuid::Uuid;

use super::{
    answers::{ScriptAnswer, Swept, Touched},
    call::{FORSAKE, LineStore, RELEASE, SWEEP, TOUCH, note_behind, with_keys},
    keys::LineKeys,
    progress::Progress,
};
use crate::{LineError, config::Patience};

/// Held visitors checked in one call when a node is gone.
const HELD_AT_ONCE: usize = 1_000;

/// Why visitors count as there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Presence {
    /// They sent a request, and are there for a while.
    Heard,
    /// This node has a socket of each, and they are there as long as the node is.
    HeldBy(NodeId),
}

/// A node of the waiting room, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(Uuid);

impl NodeId {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

impl LineStore {
    /// Notes that visitors are there, and returns where each of them is.
    pub(crate) async fn touch(
        &self,
        keys: &LineKeys,
        tickets: &[TicketId],
        presence: Presence,
        with_records: bool,
    ) -> Result<ScriptAnswer<Touched>, LineError> {
        let mut call = with_keys(&TOUCH, keys);
        call.arg(u8::from(with_records));
        match presence {
            Presence::Heard => call.arg(""),
            Presence::HeldBy(node) => call.arg(node.to_string()),
        };
        for ticket in tickets {
            call.arg(ticket.to_string());
        }
        let answer: Vec<String> = self.run("touch", &call).await?;
        Touched::read(&answer)
    }

    /// Notes that visitors have no socket on this node any more.
    pub(crate) async fn release(
        &self,
        keys: &LineKeys,
        node: NodeId,
        tickets: &[TicketId],
    ) -> Result<u64, LineError> {
        let mut call = with_keys(&RELEASE, keys);
        call.arg(node.to_string());
        for ticket in tickets {
            call.arg(ticket.to_string());
        }
        self.run("release", &call).await
    }

    /// Makes visitors absent whose node is gone; returns how many.
    pub(crate) async fn forsake(&self, keys: &LineKeys, node: Duration) -> Result<u64, LineError> {
        let (mut cursor, mut forsaken) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(keys.held()).arg(cursor).arg("COUNT").arg(HELD_AT_ONCE);
            let (next, held): (u64, Vec<(String, String)>) = self.query(&scan).await?;
            let mut call = with_keys(&FORSAKE, keys);
            call.arg(millis(node)).arg(u8::from(next == 0));
            for (ticket, _) in &held {
                call.arg(ticket);
            }
            forsaken += self.run::<u64>("forsake", &call).await?;
            if next == 0 {
                return Ok(forsaken);
            }
            cursor = next;
        }
    }

    /// Makes silent visitors absent, expires places, and finds unfinished admissions.
    pub(crate) async fn sweep(
        &self,
        show: ShowId,
        keys: &LineKeys,
        patience: Patience,
        at_most: u32,
        node: NodeId,
        known: Progress,
    ) -> Result<ScriptAnswer<Swept>, LineError> {
        let mut call = with_keys(&SWEEP, keys);
        call.arg(millis(patience.absent))
            .arg(millis(patience.grace))
            .arg(at_most)
            .arg(millis(patience.retry));
        call.arg(node.to_string()).arg(millis(patience.node)).arg(millis(patience.slot));
        call.arg(known.epoch).arg(known.seq).arg(millis(patience.sale));
        let answer: Vec<String> = self.run("sweep", &call).await?;
        note_behind(show, &answer);
        Swept::read(show, &answer)
    }
}
