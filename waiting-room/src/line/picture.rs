//! The picture of a line on this node: who stands where, after which change.

use std::time::Duration;

use tokio::time::Instant;

use super::{index::Index, loss::Loss, snapshot::Snapshot};
use crate::scripts::{change::Change, progress::Progress};

/// A line that the store does not have, or that cannot be loaded, is tried again this often.
const LOAD_AGAIN_AFTER: Duration = Duration::from_millis(250);

pub(super) struct Picture {
    /// Whether it is whole; where it is not, it is loaded again.
    is_whole: bool,
    /// The store does not have the line: it is not loaded before.
    load_at: Option<Instant>,
    /// The last change that is in it.
    seen: Progress,
    /// The last change this node ever knew of: a store that has less has gone back in time.
    known: Progress,
    /// The last id read from the stream.
    last_id: String,
    index: Index,
    /// What the last loss of Redis means to it.
    pub(super) loss: Loss,
}

impl Picture {
    /// Of a line that is not loaded yet.
    pub(super) fn new() -> Self {
        Self {
            is_whole: false,
            load_at: None,
            seen: Progress::default(),
            known: Progress::default(),
            last_id: "0-0".into(),
            index: Index::default(),
            loss: Loss::default(),
        }
    }

    /// Takes over a fresh one.
    pub(super) fn install(&mut self, mut fresh: Snapshot) {
        let is_lost = self.has_been_loaded() && fresh.seen.epoch > self.seen.epoch;
        self.loss.install(is_lost, &self.index, &mut fresh);
        self.index = fresh.index;
        self.is_whole = true;
        self.seen = fresh.seen;
        self.note(fresh.seen);
        self.last_id = fresh.last_id;
    }

    /// Whether a change continues it; where one is missing, or the line began anew, the picture is
    /// loaded again.
    pub(super) fn continues_with(&mut self, change: &Change) -> bool {
        self.is_whole &= change.at.epoch == self.seen.epoch
            && !change.opened
            && change.at.seq <= self.seen.seq + 1;
        self.is_whole
    }

    /// Takes over who joined and who is gone; how many are gone, or `None` where it has the change.
    pub(super) fn apply(&mut self, id: &str, change: &Change) -> Option<u64> {
        id.clone_into(&mut self.last_id);
        if change.at.seq <= self.seen.seq {
            return None;
        }
        for rank in &change.joined {
            self.index.insert(*rank);
        }
        let gone = change.gone.iter().copied().filter(|rank| self.index.remove(*rank));
        let gone: Vec<u64> = gone.collect();
        self.loss.note_gone(&gone);
        self.loss.note_recalled(&change.recalled);
        self.seen = change.at;
        self.note(change.at);
        Some(gone.len() as u64)
    }

    /// Notes that the store told of a change.
    pub(super) fn note(&mut self, at: Progress) {
        self.known = self.known.max(at);
    }

    /// Where to read on in the stream; `None` where it must be loaded first.
    pub(super) fn read_from(&mut self) -> Option<String> {
        if self.loss.settles_now() {
            // Whoever has not come back is not counted any more.
            self.is_whole = false;
        }
        self.is_whole.then(|| self.last_id.clone())
    }

    /// Makes this node load it again.
    pub(super) fn mark_stale(&mut self) {
        self.is_whole = false;
        self.load_at = None;
    }

    /// Whether it is to be loaded now.
    pub(super) fn is_due(&self) -> bool {
        !self.is_whole && self.load_at.is_none_or(|at| Instant::now() >= at)
    }

    /// It is tried again a little later.
    pub(super) fn load_later(&mut self) {
        self.load_at = Some(Instant::now() + LOAD_AGAIN_AFTER);
    }

    /// Whether the store, at this change, had another number of visitors in the line.
    pub(super) fn differs(&self, at: Progress, waiting: u64) -> bool {
        let comparable = self.is_whole && !self.loss.is_settling() && self.seen == at;
        comparable && self.index.len() != waiting
    }

    /// How many are ahead of a rank.
    pub(super) fn ahead_of(&self, rank: u64) -> u64 {
        self.loss.ahead_at_most(rank, self.index.before(rank))
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.index.len()
    }

    /// Whether nobody waits, as far as this node knows; false while it does not.
    pub(super) fn is_empty(&self) -> bool {
        self.is_whole && self.index.is_empty()
    }

    /// The last change that is in it.
    pub(super) fn seen(&self) -> Progress {
        self.seen
    }

    /// The last change this node ever knew of.
    pub(super) fn known(&self) -> Progress {
        self.known
    }

    /// Whether it has ever been loaded.
    pub(super) fn has_been_loaded(&self) -> bool {
        self.seen.epoch > 0
    }
}
