//! One open socket: frames out, at most one on its way; very little in.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use contract::api::line::{LineFrame, VisitorFrame, close};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use crate::watch::{Next, Watch};

/// Longest frame a client may send.
pub(crate) const FRAME_BYTES_MAX: usize = 4 * 1024;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that answers no ping for so long is gone.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// A client that takes no frame for so long is too slow.
const SEND_WAIT: Duration = Duration::from_secs(5);
/// A client may send so many frames a second.
const FRAMES_PER_SECOND_MAX: u32 = 5;
/// After a close frame, the client has so long to close too, or to read at least.
const LINGER: Duration = Duration::from_secs(1);
/// A client that was too slow has so long to read on and find out why it was dropped.
const SLOW_LINGER: Duration = Duration::from_secs(30);

/// Why a socket is closed.
struct Close(u16, &'static str);

/// Serves a socket until one side ends it.
pub(crate) async fn serve(mut socket: WebSocket, mut watch: Watch) {
    match talk(&mut socket, &mut watch).await {
        Some(Close(code, reason)) => {
            // The place is watched no longer; the rest is courtesy.
            drop(watch);
            end(socket, code, reason).await;
        }
        None => metrics::counter!("usher_line_sockets_gone_total").increment(1),
    }
}

/// Talks until there is a reason to close; `None` where the client is gone.
async fn talk(socket: &mut WebSocket, watch: &mut Watch) -> Option<Close> {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    let mut heard_at = Instant::now();
    let mut pace = Pace { since: heard_at, frames: 0 };
    loop {
        tokio::select! {
            next = watch.next() => match next {
                Next::Frame(frame) => if let Err(close) = send(socket, text(&frame)).await {
                    return close;
                },
                Next::End(code, reason) => return Some(Close(code, reason)),
            },
            received = socket.recv() => {
                heard_at = Instant::now();
                match received? {
                    Ok(Message::Close(_)) => return Some(Close(1000, "")),
                    Ok(message) if pace.is_exceeded(&message, heard_at) => {
                        return Some(Close(close::POLICY, "at most 5 frames a second"));
                    }
                    Ok(message) => if let Some(close) = read(message, watch).await {
                        return Some(close);
                    },
                    Err(error) => return refused(error),
                }
            }
            _ = pings.tick() => {
                if let Err(close) = send(socket, Message::Ping(Vec::new().into())).await {
                    return close;
                }
            }
            () = sleep_until(heard_at + SILENCE_MAX) => return None,
        }
    }
}

/// Sends within [`SEND_WAIT`], or says what to close with: nothing, where the client is gone.
async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Option<Close>> {
    if let Ok(sent) = timeout(SEND_WAIT, socket.send(message)).await {
        return sent.map_err(|_| None);
    }
    metrics::counter!("usher_line_slow_clients_total").increment(1);
    Err(Some(Close(close::TOO_SLOW, "frames were not read; connect again")))
}

/// Reads a client's frame; a reason to close where it is refused, or a wish.
async fn read(message: Message, watch: &Watch) -> Option<Close> {
    let text = match message {
        Message::Text(text) => text,
        Message::Binary(_) => {
            return Some(Close(close::POLICY, "binary frames are not understood"));
        }
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
    };
    let Ok(VisitorFrame::Leave) = serde_json::from_str(text.as_str()) else {
        return Some(Close(close::POLICY, "a frame is {\"type\":\"leave\"}"));
    };
    match watch.leave().await {
        Ok(()) => Some(Close(1000, "you left the line")),
        Err(_) => Some(Close(close::TRY_LATER, "leaving failed; try again")),
    }
}

/// What to close with after a frame that could not be read.
fn refused(error: axum::Error) -> Option<Close> {
    let error = error.into_inner().downcast::<tungstenite::Error>().ok()?;
    match *error {
        tungstenite::Error::Capacity(_) => Some(Close(close::TOO_BIG, "a frame has at most 4 KiB")),
        tungstenite::Error::Utf8(_) => Some(Close(1007, "text is UTF-8")),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => None,
        tungstenite::Error::Protocol(_) => Some(Close(1002, "this is not the WebSocket protocol")),
        _ => None,
    }
}

async fn end(mut socket: WebSocket, code: u16, reason: &'static str) {
    let last = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    let wait = if code == close::TOO_SLOW { SLOW_LINGER } else { SEND_WAIT };
    if !matches!(timeout(wait, socket.send(last)).await, Ok(Ok(()))) {
        return;
    }
    // Closing while something is unread would reset the connection, and the client might never
    // see the reason.
    let linger = Instant::now() + LINGER;
    let drained = async { while let Some(Ok(_)) = socket.recv().await {} };
    let was_closed = timeout(LINGER, drained).await.is_ok();
    if was_closed && code != 1000 {
        tokio::time::sleep_until(linger.min(Instant::now() + LINGER / 4)).await;
    }
}

fn text(frame: &LineFrame) -> Message {
    let text = serde_json::to_string(frame).expect("a frame is plain JSON");
    Message::Text(text.into())
}

/// How fast a client sends.
struct Pace {
    since: Instant,
    frames: u32,
}

impl Pace {
    fn is_exceeded(&mut self, message: &Message, now: Instant) -> bool {
        // Answers to our own pings are welcome.
        if matches!(message, Message::Pong(_)) {
            return false;
        }
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.frames) = (now, 0);
        }
        self.frames += 1;
        self.frames > FRAMES_PER_SECOND_MAX
    }
}
