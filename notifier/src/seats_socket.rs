//! What the socket of a show's seats sends, from its first frame to its close.

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

use crate::{
    seats::Watcher,
    socket::{AWAY, TOO_SLOW, count_end, over},
};

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
        let told = tokio::select! {
            biased;
            end = over(&self.shutdown, &self.token, &self.watcher.socket) => Err(end),
            // Taken at its turn: a future that is dropped must not take a piece with it.
            Some(piece) = async { self.watcher.whole.next() } => Ok(piece),
            change = self.watcher.changes.recv() => change.map_err(|error| match error {
                RecvError::Lagged(_) => TOO_SLOW,
                RecvError::Closed => AWAY,
            }),
            () = sleep_until(until) => return None,
        };
        Some(match told {
            Ok(change) => Next::Frame(self.frame(&change)),
            Err(end) => Next::End(end),
        })
    }

    async fn hear(&mut self, _: Message) -> End {
        (close::POLICY, "this socket takes no frames")
    }

    fn ended(end: Option<End>) {
        count_end(end);
    }
}
