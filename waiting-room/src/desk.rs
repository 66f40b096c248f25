//! Where places are asked for, with a group commit: joins of one line that come while a call of
//! the store is on its way share the next one. When nothing is on its way, a join goes at once.

use std::sync::Arc;

use contract::ShowId;
use store::{PgPool, detached, line as log};
use tokio::sync::{mpsc, oneshot};

use crate::{
    LineError,
    answers::{Joined, Placed, Told},
    line::{Line, Progress},
    recover,
    room::Room,
    scripts::Joiner,
    spot::Spot,
};

/// Joins that share a call: so many that the store is not kept from others for more than some
/// milliseconds.
const BATCH: usize = 64;
/// Joins of one line that wait for a call here; more are refused with 503.
const WAITING_MAX: usize = 4_096;
/// Numbers reserved at a time.
const BLOCK: u32 = 1_000;
/// A call that finds the line lost, or its numbers used up, is made again so often.
const ATTEMPTS_MAX: u32 = 6;

/// What is asked at a desk.
pub(crate) type Asked = mpsc::Receiver<Join>;

/// The way to it.
pub(crate) struct Desk(mpsc::Sender<Join>);

/// One join that waits for its place.
pub(crate) struct Join {
    joiner: Joiner,
    answer: oneshot::Sender<Result<Claimed, LineError>>,
}

/// How a place was come by, at which change, and where it is.
pub(crate) type Claimed = (Placed, Progress, Spot);

impl Desk {
    pub(crate) fn new() -> (Self, Asked) {
        let (ask, asked) = mpsc::channel(WAITING_MAX);
        (Self(ask), asked)
    }

    /// Gives an account its place. Whoever goes away without waiting for it has it all the same.
    pub(crate) async fn claim(&self, joiner: Joiner) -> Result<Claimed, LineError> {
        let (answer, told) = oneshot::channel();
        if self.0.try_send(Join { joiner, answer }).is_err() {
            metrics::counter!("usher_line_desk_full_total").increment(1);
            return Err(LineError::NotReady);
        }
        told.await.unwrap_or(Err(LineError::NotReady))
    }
}

/// Serves the desk of a line until this node lets go of it.
pub(crate) async fn run(room: Arc<Room>, line: Arc<Line>, mut asked: Asked) {
    let lot = room.lot_of(line.show);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            _ = asked.recv_many(&mut batch, BATCH) => {}
            () = line.over.cancelled() => return,
            () = room.shutdown.begun() => return,
        }
        metrics::histogram!("usher_line_joins_at_once")
            .record(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        if let Err(error) = serve(&room, &line, &lot, &mut batch).await {
            let error = Arc::new(error);
            for join in batch {
                let _ = join.answer.send(Err(LineError::Shared(Arc::clone(&error))));
            }
        }
    }
}

/// Answers every join of a batch; those that are left when it fails share the error.
async fn serve(
    room: &Room,
    line: &Line,
    lot: &[u8],
    batch: &mut Vec<Join>,
) -> Result<(), LineError> {
    let mut reserved = None;
    for _ in 0..ATTEMPTS_MAX {
        let joiners = batch.iter().map(|join| &join.joiner);
        let joined = match room.store.join(line.show, &line.keys, joiners, lot, reserved).await? {
            Told::Known(joined) => joined,
            Told::Flushed => {
                recover::open(room, line).await?;
                continue;
            }
        };
        line.heard();
        let epoch = joined.at.epoch;
        answer(batch, joined);
        if batch.is_empty() {
            return Ok(());
        }
        match reserve(&room.pool, line.show, epoch).await? {
            Some(up_to) => reserved = Some((epoch, up_to)),
            None => recover::open(room, line).await?,
        }
    }
    Err(LineError::NotReady)
}

/// Tells those who have their place; the others stay in the batch.
fn answer(batch: &mut Vec<Join>, joined: Joined) {
    let at = joined.at;
    for (join, place) in std::mem::take(batch).into_iter().zip(joined.places) {
        match place {
            // Whoever has gone away meanwhile finds the place with the next call.
            Some((how, spot)) => drop(join.answer.send(Ok((how, at, spot)))),
            None => batch.push(join),
        }
    }
}

async fn reserve(pool: &PgPool, show: ShowId, epoch: u32) -> Result<Option<u64>, LineError> {
    let pool = pool.clone();
    let asked = async move { log::reserve_numbers(&pool, show, epoch, BLOCK).await };
    Ok(detached(asked).await?)
}
