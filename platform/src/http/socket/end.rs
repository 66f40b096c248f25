//! Closing a socket so that its client gets to see why.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use contract::api::socket::close;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

use crate::http::hint::reconnect_after;

/// A client that takes no frame for so long is too slow.
pub const SEND_WAIT: Duration = Duration::from_secs(5);
/// A client that was too slow has so long to read on and find out why it was dropped.
const SLOW_LINGER: Duration = Duration::from_secs(30);
/// After a close frame, the client has so long to close too, or to read at least.
const LINGER: Duration = Duration::from_secs(1);
/// Frames that are still read, and thrown away, after a close frame: a flood is not worth more.
const DRAINED_MAX: usize = 100;

/// Why a socket is closed: a code and a reason.
pub type End = (u16, &'static str);

/// What to close with after a frame that could not be read; `None` where the client is gone.
pub(super) fn refusal(error: axum::Error) -> Option<End> {
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
pub(super) async fn end(mut socket: WebSocket, code: u16, reason: &'static str) {
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
