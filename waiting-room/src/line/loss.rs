//! A loss of Redis, as one line on this node lives through it: whom the node still counts, until
//! when the visitors come back, and what the other nodes must be told.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{index::Index, snapshot::Snapshot};

/// Rounds in which ranks that left before a loss are announced; one per second.
const RECALLS: u8 = 5;
/// A node that reads the changes of the line is seldom further behind than this.
const BEHIND_MAX: Duration = Duration::from_secs(3);
/// Ranks of those gone lately that are kept at most.
const GONE_LATELY_MAX: usize = 10_000;

/// The last loss, and what is kept for the next.
#[derive(Default)]
pub(super) struct Loss {
    /// The line as it was before: of those who left it then, the store does not know, and they must
    /// not count again.
    before: Option<Index>,
    /// Whether this node saw the line before the loss, and knows who may come back.
    is_known: bool,
    /// End of the return period: absent visitors are still counted until then.
    settles_at: Option<Instant>,
    /// Until then admission waits for the visitors, and no number is told.
    held_until: Option<Instant>,
    /// Until then a pass of before the loss may be taken, of which the store knows nothing.
    passes_until: Option<Instant>,
    /// Who left the line lately, and when: should it be lost, other nodes may not know.
    gone_lately: VecDeque<(Instant, u64)>,
    /// Ranks to announce to other nodes, and rounds left.
    to_recall: Vec<u64>,
    recalls_left: u8,
}

impl Loss {
    /// Takes over what a fresh picture says of a loss, and adds those to it who may still come back.
    /// `is_new` where the line was lost since the picture before, of which `was` is the index.
    pub(super) fn install(&mut self, is_new: bool, was: &Index, fresh: &mut Snapshot) {
        let now = Instant::now();
        let was_settling = self.settles_at.is_some();
        self.settles_at = fresh.settles_in.map(|wait| now + wait);
        self.held_until = fresh.held_for.map(|wait| now + wait);
        self.passes_until = fresh.lost_passes_for.map(|wait| now + wait);
        // Loaded again within the same epoch, the node knows whom it knew.
        self.is_known = self.settles_at.is_some() && (is_new || self.is_known);
        if is_new {
            // Lost again before it has settled: the first loss is the one that counts.
            if self.before.is_none() || !was_settling {
                self.before = Some(was.clone());
            }
            self.to_recall.extend(self.gone_lately.drain(..).map(|(_, rank)| rank));
            self.recalls_left = RECALLS + 1;
        }
        // Of those lost, whoever may still come back. Of all others the fresh picture knows.
        if self.is_known
            && let Some(before) = &self.before
        {
            fresh.index.merge_common(was, before);
        }
    }

    /// Notes ranks that left the line.
    pub(super) fn note_gone(&mut self, ranks: &[u64]) {
        let now = Instant::now();
        self.gone_lately.extend(ranks.iter().map(|rank| (now, *rank)));
        let older = |(at, _): &(Instant, u64)| now.duration_since(*at) > BEHIND_MAX;
        while self.gone_lately.len() > GONE_LATELY_MAX
            || self.gone_lately.front().is_some_and(older)
        {
            self.gone_lately.pop_front();
        }
    }

    /// Notes ranks that another node saw leave before the loss.
    pub(super) fn note_recalled(&mut self, ranks: &[u64]) {
        if let Some(before) = &mut self.before {
            for rank in ranks {
                before.remove(*rank);
            }
        }
    }

    /// What other nodes must be told, some times over as they may not hear all of it.
    pub(super) fn recalled(&mut self) -> Vec<u64> {
        self.recalls_left = self.recalls_left.saturating_sub(1);
        if self.recalls_left == 0 {
            self.to_recall = Vec::new();
        }
        self.to_recall.clone()
    }

    /// How many are ahead of a rank that has so many ahead now: no more than there were when the
    /// line was lost.
    pub(super) fn ahead_at_most(&self, rank: u64, now: u64) -> u64 {
        let before = self.before.as_ref().filter(|before| before.contains(rank));
        before.map_or(now, |before| now.min(before.before(rank)))
    }

    /// Whether a number can be told. While visitors come back, another node may have told less than
    /// this one; and one that does not know who may still come back cannot tell a number that will
    /// not have to rise.
    pub(super) fn is_sure(&self) -> bool {
        let now = Instant::now();
        let is_held = self.held_until.is_some_and(|at| now < at);
        let settles = self.settles_at.is_some_and(|at| now < at);
        !is_held && (!settles || self.is_known)
    }

    /// Whether visitors come back still.
    pub(super) fn is_settling(&self) -> bool {
        self.settles_at.is_some()
    }

    /// Ends the return period once its time is over; whether it did.
    pub(super) fn settles_now(&mut self) -> bool {
        self.settles_at.take_if(|at| Instant::now() >= *at).is_some()
    }

    /// Whether nobody may come back, and no other node must be told anything.
    pub(super) fn is_over(&self) -> bool {
        self.to_recall.is_empty() && !self.is_settling()
    }

    /// Whether somebody may have a pass of which the store has lost everything.
    pub(super) fn may_have_taken_passes(&self) -> bool {
        self.passes_until.is_some_and(|at| Instant::now() < at)
    }
}
