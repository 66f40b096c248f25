//! What the socket of a show's seats sends, from its first frame to its close.

use std::sync::Arc;

use axum::extract::ws::Message;
use contract::api::{
    catalogue::{SeatsChange, SeatsFrame},
    socket::close,
};
use platform::{
    Shutdown,
    access::TokenWatch,
    http::socket::{End, Frames, Next},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use crate::{seats::Watcher, socket::count_end};

/// Sends the state of a show's seats, and then each change.
pub(crate) struct SeatTeller {
    watcher: Watcher,
    token: TokenWatch,
    shutdown: Shutdown,
    /// The number of the last frame.
    version: u64,
}

impl SeatTeller {
    pub(crate) fn new(watcher: Watcher, token: TokenWatch, shutdown: Shutdown) -> Self {
        Self { watcher, token, shutdown, version: 0 }
    }

    fn frame(&mut self, change: &SeatsChange) -> SeatsFrame {
        self.version += 1;
        SeatsFrame::Seats(SeatsChange { version: self.version, ..change.clone() })
    }
}

impl Frames for SeatTeller {
    type Frame = SeatsFrame;

    async fn next(&mut self, until: Instant) -> Option<Next<SeatsFrame>> {
        let told = usize::try_from(self.version).unwrap_or(usize::MAX);
        if let Some(piece) = self.watcher.whole.get(told).map(Arc::clone) {
            return Some(Next::Frame(self.frame(&piece)));
        }
        let end = tokio::select! {
            () = self.shutdown.begun() => (close::DRAIN, "this node is stopping; connect again"),
            why = self.token.ended() => (close::POLICY, why),
            () = self.watcher.socket.replaced.cancelled() => {
                (close::REPLACED, "a newer socket took its place")
            }
            change = self.watcher.changes.recv() => match change {
                Ok(change) => return Some(Next::Frame(self.frame(&change))),
                Err(RecvError::Lagged(_)) => {
                    (close::TOO_SLOW, "frames were not read in time; connect again")
                }
                Err(RecvError::Closed) => {
                    (close::TRY_LATER, "the database does not answer; connect again")
                }
            },
            () = sleep_until(until) => return None,
        };
        Some(Next::End(end))
    }

    async fn hear(&mut self, _: Message) -> End {
        (close::POLICY, "this socket takes no frames")
    }

    fn ended(end: Option<End>) {
        count_end(end);
    }
}
