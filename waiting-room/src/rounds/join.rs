//! Giving out places in batches: joins of one line that come while a call to Redis is under way
//! share the next call. A join that comes while none is under way goes at once.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use platform::number::float;
use store::{
    detached,
    line_marks::{self, ReservedNumbers, Rule},
};

use crate::{
    LineError,
    line::{
        Line,
        desk::{Join, JoinQueue, WAITING_MAX},
    },
    room::{WaitingRoom, recover},
    scripts::answers::{Joined, ScriptAnswer},
};

/// Most joins per call, so that a call blocks Redis for some milliseconds at most.
const BATCH: usize = 64;
/// Fewest numbers reserved at a time.
const BLOCK: u32 = 1_000;
/// Most tries of a join that finds the numbers used up, and of a batch that finds the line lost.
const TRIES_MAX: u32 = 6;

/// Serves the desk of a line until this node lets go of it.
pub(crate) async fn serve(room: Arc<WaitingRoom>, line: Arc<Line>, mut queue: JoinQueue) {
    let mut counter = Counter {
        lot: room.lot_of(line.show),
        reserved: None,
        wait_for_numbers: Vec::new(),
        reserving: None,
    };
    loop {
        let mut joins = Vec::new();
        let has_room = counter.wait_for_numbers.len() < WAITING_MAX;
        tokio::select! {
            _ = queue.recv_many(&mut joins, BATCH), if has_room => {}
            told = counter.is_reserved() => {
                joins = std::mem::take(&mut counter.wait_for_numbers);
                if let Err(error) = told {
                    fail(joins.drain(..), error);
                }
            }
            () = line.over.cancelled() => return,
            () = room.shutdown.begun() => return,
        }
        while !joins.is_empty() {
            let mut batch = joins.drain(..joins.len().min(BATCH)).collect();
            if let Err(error) = counter.serve(&room, &line, &mut batch).await {
                fail(batch.drain(..), error);
            }
        }
    }
}

/// Joins that fail together share the error.
fn fail(joins: impl Iterator<Item = Join>, error: LineError) {
    let error = Arc::new(error);
    for join in joins {
        let _ = join.answer.send(Err(LineError::Shared(Arc::clone(&error))));
    }
}

struct Counter {
    lot: [u8; 32],
    /// The last reservation.
    reserved: Option<ReservedNumbers>,
    /// Joins that need new numbers or a new stretch. Joins of accounts that have a place do not
    /// wait behind them.
    wait_for_numbers: Vec<Join>,
    reserving: Option<BoxFuture<'static, Result<Option<ReservedNumbers>, LineError>>>,
}

impl Counter {
    /// Answers every join of a batch that needs no new numbers. On an error, the joins that are
    /// left in the batch are not answered yet.
    async fn serve(
        &mut self,
        room: &Arc<WaitingRoom>,
        line: &Arc<Line>,
        batch: &mut Vec<Join>,
    ) -> Result<(), LineError> {
        metrics::histogram!("usher_line_joins_at_once").record(float(batch.len()));
        for _ in 0..TRIES_MAX {
            let joiners = batch.iter().map(|join| &join.joiner);
            let (keys, lot) = (&line.keys, &self.lot);
            let joined =
                room.store.join(line.show, keys, joiners, lot, self.reserved, line.known()).await?;
            let ScriptAnswer::Known(Joined { at, places }) = joined else {
                recover::open(room, line).await?;
                continue;
            };
            line.heard();
            line.note_progress(at);
            for (mut join, place) in batch.drain(..).zip(places) {
                join.tries += 1;
                match place {
                    // A visitor whose request is gone gets the same place on the next join.
                    Some((how, spot)) => _ = join.answer.send(Ok((how, at, spot))),
                    None if join.tries == TRIES_MAX => {
                        let _ = join.answer.send(Err(LineError::NotReady));
                    }
                    None => self.wait_for_numbers.push(join),
                }
            }
            if !self.wait_for_numbers.is_empty() && self.reserving.is_none() {
                let count = u32::try_from(self.wait_for_numbers.len()).unwrap_or(BLOCK).max(BLOCK);
                let rules = self.wait_for_numbers.iter().filter_map(|join| join.joiner.rule);
                let rule = rules.max().unwrap_or(Rule { version: 0, drawn: false });
                self.reserving = Some(reserve(room, line, at.epoch, count, rule).boxed());
            }
            return Ok(());
        }
        Err(LineError::NotReady)
    }

    /// Resolves once a reservation ends; never while there is none. Can be dropped and called
    /// again.
    async fn is_reserved(&mut self) -> Result<(), LineError> {
        let Some(reserving) = &mut self.reserving else { return std::future::pending().await };
        let reserved = reserving.await;
        self.reserving = None;
        if let Some(reserved) = reserved? {
            self.reserved = Some(reserved);
        }
        Ok(())
    }
}

/// Reserves numbers for places under this rule; `None` where the line began anew meanwhile.
fn reserve(
    room: &Arc<WaitingRoom>,
    line: &Arc<Line>,
    epoch: u32,
    count: u32,
    rule: Rule,
) -> impl Future<Output = Result<Option<ReservedNumbers>, LineError>> + Send + 'static {
    let (room, line) = (Arc::clone(room), Arc::clone(line));
    async move {
        let (pool, show) = (room.rounds.clone(), line.show);
        let asked =
            async move { line_marks::reserve_numbers(&pool, show, epoch, count, rule).await };
        let Some(numbers) = detached(asked).await? else {
            recover::open(&room, &line).await?;
            return Ok(None);
        };
        Ok(Some(numbers))
    }
}
