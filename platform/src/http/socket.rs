//! What every WebSocket does the same way: what it costs at most, how fast a client may send, what
//! it is told when a frame cannot be read, and closing so that it gets to see why.

mod register;
mod talk;

use std::{future::Future, time::Duration};

use axum::{
    Extension,
    extract::{
        FromRequestParts,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
        },
    },
    http::{HeaderMap, request::Parts},
    response::{IntoResponse, Response},
};
use contract::api::{
    problem::Code,
    socket::{SUBPROTOCOL, close},
};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

use super::{ApiError, ApiResult, Connection, Door, origin_is_allowed, reconnect_after};
use crate::Shutdown;
pub use register::{Slot, Sockets};
pub use talk::{End, Frames, Next, talk};

/// Longest frame a client may send.
const FRAME_BYTES_MAX: usize = 4 * 1024;
/// Clients say next to nothing, and every socket keeps such a buffer.
const READ_BUFFER_BYTES: usize = 1024;
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// A client may send so many frames a second.
const FRAMES_PER_SECOND_MAX: u32 = 5;
/// How often a client is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Without one for so long, the client is gone.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// A client that takes no frame for so long is too slow.
pub const SEND_WAIT: Duration = Duration::from_secs(5);
/// A client that was too slow has so long to read on and find out why it was dropped.
const SLOW_LINGER: Duration = Duration::from_secs(30);
/// After a close frame, the client has so long to close too, or to read at least.
const LINGER: Duration = Duration::from_secs(1);
/// A client that finds the node full should come back after so many seconds.
const RETRY_AFTER_S: u64 = 2;
/// Frames that are still read, and thrown away, after a close frame: a flood is not worth more.
const DRAINED_MAX: usize = 100;

/// A request for a socket, or for something else by mistake.
pub struct Asked {
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    connection: Connection,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let connection = Extension::<Connection>::from_request_parts(parts, state).await;
        let Extension(connection) = connection.map_err(IntoResponse::into_response)?;
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self { upgrade, connection })
    }
}

impl Asked {
    /// A socket for a page we know, or for no page; else 426 with what to do `instead`, 403, or 503
    /// where the node is full.
    pub fn allowed(
        self,
        headers: &HeaderMap,
        door: &Door,
        instead: &str,
    ) -> ApiResult<(WebSocketUpgrade, Connection)> {
        let upgrade =
            self.upgrade.map_err(|_| ApiError::new(Code::UpgradeRequired, instead.to_owned()))?;
        if !origin_is_allowed(headers, door) {
            let detail = "pages of this origin may not open sockets";
            return Err(ApiError::new(Code::OriginRefused, detail));
        }
        may_stay(&self.connection)?;
        Ok((upgrade, self.connection))
    }
}

/// Whether a connection may stay open for as long as its client likes; 503 where the node is full.
pub fn may_stay(connection: &Connection) -> ApiResult<()> {
    if connection.may_stay() {
        return Ok(());
    }
    metrics::counter!("usher_http_sockets_refused_total").increment(1);
    let detail = "this node has no room for another socket; connect again";
    Err(ApiError::unavailable(Code::NodeFull, detail, RETRY_AFTER_S))
}

/// Takes a socket over. It counts as one of the listener's connections, and stopping waits for it,
/// until it has been served.
pub fn accept<F: Future<Output = ()> + Send + 'static>(
    upgrade: WebSocketUpgrade,
    connection: Connection,
    shutdown: Shutdown,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response {
    // The defaults keep 128 KiB for each socket and buffer writes without bound.
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(async move |socket| {
            // A task of its own: this one has room for the whole handshake.
            shutdown.spawn(serve(socket).map(|()| drop(connection)));
        })
}

/// How fast a client sends.
struct Pace {
    since: Instant,
    frames: u32,
}

impl Pace {
    /// A pace that is kept from now on.
    fn new(now: Instant) -> Self {
        Self { since: now, frames: 0 }
    }

    /// Counts a frame; whether it is one too many. Answers to our own pings are welcome.
    fn is_exceeded(&mut self, message: &Message, now: Instant) -> bool {
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
fn refusal(error: axum::Error) -> Option<End> {
    match *error.into_inner().downcast::<Error>().ok()? {
        Error::Capacity(_) => Some((close::TOO_BIG, "a frame has at most 4 KiB")),
        Error::Utf8(_) => Some((close::NOT_TEXT, "text is UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some((close::PROTOCOL, "this is not the WebSocket protocol")),
        _ => None,
    }
}

/// Says why, and when to come back where that is wanted; then waits a moment: closing while
/// something is unread would reset the connection, and the client might never see the reason.
async fn end(mut socket: WebSocket, code: u16, reason: &'static str) {
    let reason = match code {
        close::DRAIN | close::TRY_LATER => close::with_retry(reconnect_after(), reason),
        _ => reason.to_owned(),
    };
    let frame = CloseFrame { code, reason: reason.into() };
    let wait = if code == close::TOO_SLOW { SLOW_LINGER } else { SEND_WAIT };
    if !matches!(timeout(wait, socket.send(Message::Close(Some(frame)))).await, Ok(Ok(()))) {
        return;
    }
    let drained = async {
        for _ in 0..DRAINED_MAX {
            if !matches!(socket.recv().await, Some(Ok(_))) {
                break;
            }
        }
    };
    if timeout(LINGER, drained).await.is_ok() && code != close::NORMAL {
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
