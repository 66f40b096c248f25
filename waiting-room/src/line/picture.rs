//! The picture of a line on this node: the ranks in it after a certain change.

use std::time::Duration;

use tokio::time::Instant;

use super::{index::Index, loss::Loss, snapshot::Snapshot};
use crate::scripts::{change::LineChange, progress::Progress};

/// Time between two tries to load a line that Redis does not have or that cannot be loaded.
const LOAD_AGAIN_AFTER: Duration = Duration::from_millis(250);

pub(super) struct Picture {
    /// Whether no change is missing; a picture that is not whole is loaded again.
    is_whole: bool,
    /// Not loaded before this time, because the last try failed.
    load_at: Option<Instant>,
    /// The last change that is in the picture.
    seen: Progress,
    /// The last change this node ever knew of: a Redis that is behind it has lost changes.
    known: Progress,
    /// The last id read from the stream.
    last_id: String,
    index: Index,
    /// What the last loss of Redis means for the line.
    pub(super) loss: Loss,
}

impl Picture {
    /// The picture of a line that is not loaded yet.
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

    /// Takes over a fresh picture.
    pub(super) fn install(&mut self, mut fresh: Snapshot) {
        let is_lost = self.has_been_loaded() && fresh.seen.epoch > self.seen.epoch;
        self.loss.install(is_lost, &self.index, &mut fresh);
        self.index = fresh.index;
        self.is_whole = true;
        self.seen = fresh.seen;
        self.note_progress(fresh.seen);
        self.last_id = fresh.last_id;
    }

    /// Whether a change continues the picture. If a change is missing, or the line began anew, the
    /// picture must be loaded again.
    pub(super) fn continues_with(&mut self, change: &LineChange) -> bool {
        self.is_whole &= change.at.epoch == self.seen.epoch
            && !change.opened
            && change.at.seq <= self.seen.seq + 1;
        self.is_whole
    }

    /// Adds the ranks that joined and removes those that are gone. Returns how many were removed,
    /// or `None` where the picture had the change already.
    pub(super) fn apply(&mut self, id: &str, change: &LineChange) -> Option<u64> {
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
        self.note_progress(change.at);
        Some(gone.len() as u64)
    }

    /// Notes that the store has made this change.
    pub(super) fn note_progress(&mut self, at: Progress) {
        self.known = self.known.max(at);
    }

    /// The stream id to read on from; `None` where the picture must be loaded first.
    pub(super) fn read_from(&mut self) -> Option<String> {
        if self.loss.settles_now() {
            // A fresh picture no longer counts visitors who have not come back.
            self.is_whole = false;
        }
        self.is_whole.then(|| self.last_id.clone())
    }

    /// Makes this node load the picture again.
    pub(super) fn mark_stale(&mut self) {
        self.is_whole = false;
        self.load_at = None;
    }

    /// Whether the picture is to be loaded now.
    pub(super) fn is_due(&self) -> bool {
        !self.is_whole && self.load_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Puts off the next load by [`LOAD_AGAIN_AFTER`].
    pub(super) fn load_later(&mut self) {
        self.load_at = Some(Instant::now() + LOAD_AGAIN_AFTER);
    }

    /// Whether the store, at this change, counted other visitors in the line than the picture.
    pub(super) fn differs(&self, at: Progress, waiting: u64) -> bool {
        let comparable = self.is_whole && !self.loss.is_settling() && self.seen == at;
        comparable && self.index.len() != waiting
    }

    /// How many are ahead of a rank.
    pub(super) fn ahead_of(&self, rank: u64) -> u64 {
        self.loss.ahead_at_most(rank, self.index.before(rank))
    }

    /// Visitors in the line.
    pub(super) fn waiting(&self) -> u64 {
        self.index.len()
    }

    /// Whether nobody waits, as far as this node knows; false while the picture is not whole.
    pub(super) fn is_empty(&self) -> bool {
        self.is_whole && self.index.is_empty()
    }

    /// The last change that is in the picture.
    pub(super) fn seen(&self) -> Progress {
        self.seen
    }

    /// The last change this node ever knew of.
    pub(super) fn known(&self) -> Progress {
        self.known
    }

    /// Whether the picture has ever been loaded.
    pub(super) fn has_been_loaded(&self) -> bool {
        self.seen.epoch > 0
    }
}
