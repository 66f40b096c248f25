//! The waiting time that visitors are told, and whether it came true.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use contract::TicketId;
use tokio::time::Instant;

use super::{
    estimate::Outflow,
    promise::{Edges, Promise},
};

/// The forecast of one line on this node.
pub(crate) struct Forecast {
    started: Instant,
    outflow: Outflow,
    edges: Edges,
}

impl Forecast {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), outflow: Outflow::default(), edges: Edges::default() }
    }

    /// Notes whether the line moves.
    pub(crate) fn moves(&mut self, moves: bool) {
        self.outflow.moves(moves, self.started.elapsed());
    }

    /// Notes how many were admitted, how many left, and how many wait now.
    pub(crate) fn gone(&mut self, admitted: u64, left: u64, waiting: u64) {
        self.outflow.gone(admitted, left, waiting, self.started.elapsed());
    }

    /// The interval to promise a visitor with this many ahead; `None` where the line cannot move.
    /// `rate` is the admissions per second set.
    pub(crate) fn promise(&self, ahead: u64, rate: f64, opens_in: Duration) -> Option<Promise> {
        let expected = self.outflow.wait(ahead, rate)?;
        Some(self.edges.promise(expected, opens_in, self.moved()))
    }

    /// Learns from the promises to a visitor who has been admitted, and counts whether they held.
    pub(crate) fn ends(&mut self, told: &PromisesMade) {
        let moved = self.moved();
        for (shown, promise) in [("first", told.first), ("later", told.later)] {
            if let Some(promise) = promise {
                let kept = promise.kept(moved);
                self.edges.learn(&promise, kept);
                metrics::counter!("usher_line_intervals_total",
                    "shown" => shown, "wait" => kept.as_str())
                .increment(1);
            }
        }
    }

    fn moved(&self) -> Duration {
        self.outflow.moved(self.started.elapsed())
    }
}

/// The promises made to a visitor: the first, and one picked at random from all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PromisesMade {
    first: Option<Promise>,
    later: Option<Promise>,
    count: u64,
}

impl PromisesMade {
    /// Notes one more promise.
    pub(crate) fn add(&mut self, promise: Promise, to: TicketId) {
        self.first.get_or_insert(promise);
        self.count += 1;
        let mut hasher = DefaultHasher::new();
        (to, self.count).hash(&mut hasher);
        if hasher.finish().is_multiple_of(self.count) {
            self.later = Some(promise);
        }
    }
}
