//! What every WebSocket does the same way: how fast a client may send, what it is told when a frame
//! cannot be read, and closing so that it gets to see why.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use contract::api::line::close;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

/// A client may send so many frames a second.
const FRAMES_PER_SECOND_MAX: u32 = 5;
/// A client that takes no frame for so long is too slow.
const SEND_WAIT: Duration = Duration::from_secs(5);
/// After a close frame, the client has so long to close too, or to read at least.
const LINGER: Duration = Duration::from_secs(1);
/// Frames that are still read, and thrown away, after a close frame: a flood is not worth more.
const DRAINED_MAX: usize = 100;

/// How fast a client sends.
pub struct Pace {
    since: Instant,
    frames: u32,
}

impl Pace {
    /// A pace that is kept from now on.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, frames: 0 }
    }

    /// Counts a frame; whether it is one too many. Answers to our own pings are welcome.
    pub fn is_exceeded(&mut self, message: &Message, now: Instant) -> bool {
        if matches!(message, Message::Pong(_)) {
            return false;
        }
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.frames += 1;
        self.frames > FRAMES_PER_SECOND_MAX
    }
}

/// What to close with after a frame that could not be read; `None` where the client is gone.
#[must_use]
pub fn refusal(error: axum::Error) -> Option<(u16, &'static str)> {
    match *error.into_inner().downcast::<Error>().ok()? {
        Error::Capacity(_) => Some((close::TOO_BIG, "a frame has at most 4 KiB")),
        Error::Utf8(_) => Some((close::NOT_TEXT, "text is UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some((close::PROTOCOL, "this is not the WebSocket protocol")),
        _ => None,
    }
}

/// Says why, then waits a moment: closing while something is unread would reset the connection,
/// and the client might never see the reason.
pub async fn end(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    if !matches!(timeout(SEND_WAIT, socket.send(Message::Close(Some(frame)))).await, Ok(Ok(()))) {
        return;
    }
    let drained = async {
        for _ in 0..DRAINED_MAX {
            if !matches!(socket.recv().await, Some(Ok(_))) {
                break;
            }
        }
    };
    if timeout(LINGER, drained).await.is_ok() {
        sleep(LINGER / 4).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_frames_in_a_second_are_one_too_many_and_pongs_do_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let ping = Message::Ping(axum::body::Bytes::new());
        let answer = Message::Pong(axum::body::Bytes::new());
        assert!((0..100).all(|_| !pace.is_exceeded(&answer, start)));
        assert!((0..5).all(|_| !pace.is_exceeded(&ping, start)));
        assert!(pace.is_exceeded(&ping, start));
        assert!(!pace.is_exceeded(&ping, start + Duration::from_secs(1)));
    }
}
