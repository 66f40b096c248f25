//! What a loss of Redis means for one line on this node: which absent visitors are still counted,
//! how long they may come back, and what the other nodes must be told.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{index::Index, snapshot::Snapshot};

/// Rounds in which ranks that left before a loss are announced; one per second.
const RECALLS: u8 = 5;
/// Nodes seldom read the stream of changes later than this.
const BEHIND_MAX: Duration = Duration::from_secs(3);
/// Most ranks kept of visitors who left lately.
const GONE_LATELY_MAX: usize = 10_000;

/// The last loss, and what is kept for the next loss.
#[derive(Default)]
pub(super) struct Loss {
    /// The line as it was before the loss. Only these ranks may still come back: Redis has
    /// forgotten which others had left, and those must not count again.
    before: Option<Index>,
    /// Whether this node saw the line before the loss, and so knows which ranks may come back.
    is_known: bool,
    /// End of the return period: absent visitors are still counted until then.
    settles_at: Option<Instant>,
    /// Until then admission waits for returning visitors, and no number is told.
    held_until: Option<Instant>,
    /// Until then a pass from before the loss may be valid, though Redis does not know it.
    passes_until: Option<Instant>,
    /// Ranks that left the line lately, and when. If Redis loses the line, other nodes may not have
    /// heard of them.
    gone_lately: VecDeque<(Instant, u64)>,
    /// Ranks to announce to other nodes, and rounds left.
    to_recall: Vec<u64>,
    recalls_left: u8,
}

impl Loss {
    /// Takes over what a fresh picture says about a loss, and adds the ranks that may still come
    /// back to it. `is_new` says whether the line was lost since the last picture, whose index is
    /// `was`.
    pub(super) fn install(&mut self, is_new: bool, was: &Index, fresh: &mut Snapshot) {
        let now = Instant::now();
        let was_settling = self.settles_at.is_some();
        self.settles_at = fresh.settles_in.map(|wait| now + wait);
        self.held_until = fresh.held_for.map(|wait| now + wait);
        self.passes_until = fresh.lost_passes_for.map(|wait| now + wait);
        // A picture that is loaded again in the same epoch changes nothing about what is known.
        self.is_known = self.settles_at.is_some() && (is_new || self.is_known);
        if is_new {
            // After a second loss within the return period, the line before the first one counts.
            if self.before.is_none() || !was_settling {
                self.before = Some(was.clone());
            }
            self.to_recall.extend(self.gone_lately.drain(..).map(|(_, rank)| rank));
            self.recalls_left = RECALLS + 1;
        }
        // Only lost ranks are added; the fresh picture has all others.
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

    /// The ranks to announce in this round. They are announced in several rounds, since a node may
    /// miss some.
    pub(super) fn recalled(&mut self) -> Vec<u64> {
        self.recalls_left = self.recalls_left.saturating_sub(1);
        if self.recalls_left == 0 {
            self.to_recall = Vec::new();
        }
        self.to_recall.clone()
    }

    /// How many are ahead of a rank, where `now` are by the picture: no more than there were before
    /// the loss.
    pub(super) fn ahead_at_most(&self, rank: u64, now: u64) -> u64 {
        let before = self.before.as_ref().filter(|before| before.contains(rank));
        before.map_or(now, |before| now.min(before.before(rank)))
    }

    /// Whether a number can be told that will not have to rise. It cannot while admission is held,
    /// since another node may have told a smaller one, nor in the return period if this node does
    /// not know which ranks may come back.
    pub(super) fn is_sure(&self) -> bool {
        let now = Instant::now();
        let is_held = self.held_until.is_some_and(|at| now < at);
        let settles = self.settles_at.is_some_and(|at| now < at);
        !is_held && (!settles || self.is_known)
    }

    /// Whether visitors may still come back.
    pub(super) fn is_settling(&self) -> bool {
        self.settles_at.is_some()
    }

    /// Ends the return period once its time is over; returns whether it ended now.
    pub(super) fn settles_now(&mut self) -> bool {
        self.settles_at.take_if(|at| Instant::now() >= *at).is_some()
    }

    /// Whether nobody may come back any more, and no ranks are left to announce.
    pub(super) fn is_over(&self) -> bool {
        self.to_recall.is_empty() && !self.is_settling()
    }

    /// Whether a visitor may have a valid pass that Redis lost.
    pub(super) fn may_have_taken_passes(&self) -> bool {
        self.passes_until.is_some_and(|at| Instant::now() < at)
    }
}
