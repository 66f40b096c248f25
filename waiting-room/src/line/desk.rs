//! The desk of a line: joins wait here for `rounds/join.rs`, which answers each of them once Redis
//! has given it a place.

use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{
    LineError,
    scripts::{Joiner, answers::Placed, progress::Progress, spot::Spot},
};

/// Most joins of one line that wait here; more are refused with 503.
pub(crate) const WAITING_MAX: usize = 4_096;

/// The joins that come to a desk.
pub(crate) type JoinQueue = mpsc::Receiver<Join>;

/// The sending end, for the requests.
pub(crate) struct Desk(mpsc::Sender<Join>);

/// One join that waits for its place.
pub(crate) struct Join {
    pub(crate) joiner: Joiner,
    pub(crate) tries: u32,
    pub(crate) answer: oneshot::Sender<Result<Claimed, LineError>>,
}

/// How the account came to its place, the change that made it, and the place.
pub(crate) type Claimed = (Placed, Progress, Spot);

impl Desk {
    pub(crate) fn new() -> (Self, JoinQueue) {
        let (ask, queue) = mpsc::channel(WAITING_MAX);
        (Self(ask), queue)
    }

    /// Gives an account its place, even if the request is dropped before the answer comes.
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
