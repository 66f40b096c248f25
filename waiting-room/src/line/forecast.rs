//! What those who wait are told of their waiting time, and whether it came true.

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

    /// Notes that so many were let in and so many left, and how many wait now.
    pub(crate) fn gone(&mut self, admitted: u64, left: u64, waiting: u64) {
        self.outflow.gone(admitted, left, waiting, self.started.elapsed());
    }

    /// What to promise somebody with so many ahead; `None` where nothing moves. `rate` is what the
    /// room is set to, per second.
    pub(crate) fn promise(&self, ahead: u64, rate: f64, opens_in: Duration) -> Option<Promise> {
        let expected = self.outflow.wait(ahead, rate)?;
        Some(self.edges.promise(expected, opens_in, self.moved()))
    }

    /// Learns from what somebody was told who has been let in, and measures it.
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

/// The promises a visitor was made: the first, and one of all of them, each as likely as another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PromisesMade {
    first: Option<Promise>,
    later: Option<Promise>,
    count: u64,
}

impl PromisesMade {
    /// Notes one more.
    pub(crate) fn note(&mut self, promise: Promise, to: TicketId) {
        self.first.get_or_insert(promise);
        self.count += 1;
        let mut hasher = DefaultHasher::new();
        (to, self.count).hash(&mut hasher);
        if hasher.finish().is_multiple_of(self.count) {
            self.later = Some(promise);
        }
    }
}
