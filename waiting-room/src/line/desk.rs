//! Where places are asked for: joins of one line wait here for the round that serves them.

use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{
    LineError,
    scripts::{Joiner, answers::Placed, progress::Progress, spot::Spot},
};

/// Joins of one line that wait for a call here; more are refused with 503.
pub(crate) const WAITING_MAX: usize = 4_096;

/// The joins that wait at a desk.
pub(crate) type JoinQueue = mpsc::Receiver<Join>;

/// The way to it.
pub(crate) struct Desk(mpsc::Sender<Join>);

/// One join that waits for its place.
pub(crate) struct Join {
    pub joiner: Joiner,
    pub tries: u32,
    pub answer: oneshot::Sender<Result<Claimed, LineError>>,
}

/// How a place was come by, at which change, and where it is.
pub(crate) type Claimed = (Placed, Progress, Spot);

impl Desk {
    pub(crate) fn new() -> (Self, JoinQueue) {
        let (ask, queue) = mpsc::channel(WAITING_MAX);
        (Self(ask), queue)
    }

    /// Gives an account its place. Whoever goes away without waiting for it has it all the same.
    pub(crate) async fn claim(&self, joiner: Joiner) -> Result<Claimed, LineError> {
        let (answer, told) = oneshot::channel();
        match self.0.try_send(Join { joiner, tries: 0, answer }) {
            Ok(()) => told.await.unwrap_or(Err(LineError::NotReady)),
            Err(TrySendError::Closed(_)) => Err(LineError::NotReady),
            Err(TrySendError::Full(_)) => {
                metrics::counter!("usher_line_desk_full_total").increment(1);
                Err(LineError::Busy)
            }
        }
    }
}
