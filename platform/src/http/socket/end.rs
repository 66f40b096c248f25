//! Closes a socket so that its client sees the reason.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use contract::api::socket::close;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

use crate::http::hint::reconnect_after;

/// A client that takes no frame for this long is too slow.
pub const SEND_WAIT: Duration = Duration::from_secs(5);
/// How long a client that was too slow may read on, to find out why it was dropped.
const SLOW_LINGER: Duration = Duration::from_secs(30);
/// How long the client may take after a close frame to close, too, or at least to read.
const LINGER: Duration = Duration::from_secs(1);
/// Most frames that are read and dropped after a close frame.
const DRAINED_MAX: usize = 100;

/// Why a socket is closed: a code and a reason.
pub type End = (u16, &'static str);

/// How to close after a frame that could not be read; `None` if the client is gone.
pub(super) fn refusal(error: axum::Error) -> Option<End> {
    match *error.into_inner().downcast::<Error>().ok()? {
        Error::Capacity(_) => Some((close::TOO_BIG, "a frame has at most 4 KiB")),
        Error::Utf8(_) => Some((close::NOT_TEXT, "text is UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some((close::PROTOCOL, "this is not the WebSocket protocol")),
        _ => None,
    }
}

/// Sends the reason and, for some codes, when to come back. Then waits a moment: closing while
/// frames are unread would reset the connection, and the client might never see the reason.
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
