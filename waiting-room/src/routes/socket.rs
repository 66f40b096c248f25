//! One open socket: frames out, at most one on its way; very little in.

use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use contract::api::line::{LineFrame, VisitorFrame, close};
use platform::http::socket::{PING_EVERY, Pace, SEND_WAIT, SILENCE_MAX, end, refusal};
use tokio::time::{Instant, timeout};

use crate::places::watch::{Next, Watch};

/// Why a socket is closed: a code and a reason, or nothing where the client is gone already.
type End = Option<(u16, &'static str)>;

/// Serves a socket until one side ends it. What it needs is kept once, in a box.
pub(crate) fn serve(socket: WebSocket, watch: Watch) -> impl Future<Output = ()> + Send {
    let now = Instant::now();
    let talk =
        Talk { socket, watch, heard_at: now, ping_at: now + PING_EVERY, pace: Pace::new(now) };
    Box::new(talk).run()
}

struct Talk {
    socket: WebSocket,
    watch: Watch,
    heard_at: Instant,
    ping_at: Instant,
    pace: Pace,
}

impl Talk {
    async fn run(mut self: Box<Self>) {
        let Some((code, reason)) = self.talk().await else {
            metrics::counter!("usher_line_sockets_gone_total").increment(1);
            return;
        };
        // The place is watched no longer; the rest is courtesy.
        let Self { socket, watch, .. } = *self;
        drop(watch);
        Box::pin(end(socket, code, reason)).await;
    }

    async fn talk(&mut self) -> End {
        loop {
            let message = tokio::select! {
                next = self.watch.next(self.ping_at.min(self.heard_at + SILENCE_MAX)) => match next {
                    Some(Next::Frame(frame)) => text(&frame),
                    Some(Next::End(code, reason)) => return Some((code, reason)),
                    None if self.heard_at.elapsed() >= SILENCE_MAX => return None,
                    None => {
                        self.ping_at = Instant::now() + PING_EVERY;
                        Message::Ping(Bytes::new())
                    }
                },
                received = self.socket.recv() => {
                    self.heard_at = Instant::now();
                    match received? {
                        Ok(Message::Close(_)) => return Some((1000, "")),
                        Ok(message) if self.pace.is_exceeded(&message, self.heard_at) => {
                            return Some((close::POLICY, "at most 5 frames a second"));
                        }
                        Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                        Ok(message) => return Some(Box::pin(read(message, &self.watch)).await),
                        Err(error) => return refusal(error),
                    }
                }
            };
            match timeout(SEND_WAIT, self.socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => {
                    metrics::counter!("usher_line_slow_clients_total").increment(1);
                    return Some((close::TOO_SLOW, "frames were not read; connect again"));
                }
            }
        }
    }
}

/// Reads a client's frame. Whether it is refused or carried out, the socket ends with it.
async fn read(message: Message, watch: &Watch) -> (u16, &'static str) {
    let Message::Text(text) = message else {
        return (close::POLICY, "binary frames are not understood");
    };
    let Ok(VisitorFrame::Leave) = serde_json::from_str(text.as_str()) else {
        return (close::POLICY, "a frame is {\"type\":\"leave\"}");
    };
    match watch.leave().await {
        Ok(()) => (1000, "you left the line"),
        Err(_) => (close::TRY_LATER, "leaving failed; try again"),
    }
}

fn text(frame: &LineFrame) -> Message {
    let text = serde_json::to_string(frame).expect("a frame is plain JSON");
    Message::Text(text.into())
}
