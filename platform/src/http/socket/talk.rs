//! The conversation over a socket: frames go out, one at a time; very little comes in.

use std::{future::Future, pin::pin, time::Duration};

use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use contract::api::socket::close;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::{
    end::{End, SEND_WAIT, end, refusal},
    frame_rate::FrameRate,
};

/// How often a client is pinged.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client from which nothing came for this long is gone.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What the socket sends next.
#[derive(Debug)]
pub enum Next<F> {
    Frame(F),
    /// The socket closes.
    End(End),
}

/// What a socket sends, and how it answers.
pub trait Frames: Send {
    type Frame: Serialize + Send;

    /// What to send next; `None` if there is nothing until `until`. The future can be dropped and
    /// made again at any time.
    fn next(&mut self, until: Instant) -> impl Future<Output = Option<Next<Self::Frame>>> + Send;

    /// Takes a client's frame. The socket then closes, whether the frame is refused or carried out.
    fn hear(&mut self, frame: Message) -> impl Future<Output = End> + Send;

    /// Reports how the socket ends; `None` if the client is already gone.
    fn ended(end: Option<End>);
}

/// Serves a socket until one side ends it. Its state is boxed, so that it is kept in memory once.
pub fn talk<F: Frames + 'static>(socket: WebSocket, frames: F) -> impl Future<Output = ()> + Send {
    let now = Instant::now();
    let talk = Talk {
        socket,
        frames,
        heard_at: now,
        ping_at: now + PING_EVERY,
        rate: FrameRate::new(now),
    };
    Box::new(talk).run()
}

struct Talk<F> {
    socket: WebSocket,
    frames: F,
    heard_at: Instant,
    ping_at: Instant,
    rate: FrameRate,
}

impl<F: Frames> Talk<F> {
    async fn run(mut self: Box<Self>) {
        let why = self.talk().await;
        F::ended(why);
        let Self { socket, frames, .. } = *self;
        // The client no longer watches; only the close frame is left to send.
        drop(frames);
        if let Some((code, reason)) = why {
            Box::pin(end(socket, code, reason)).await;
        }
    }

    async fn talk(&mut self) -> Option<End> {
        let Self { socket, frames, heard_at, ping_at, rate } = self;
        loop {
            let turn = {
                // Kept while frames of the client arrive, so that a look-up on its way is not begun
                // again.
                let mut next = pin!(frames.next((*ping_at).min(*heard_at + SILENCE_MAX)));
                loop {
                    tokio::select! {
                        next = &mut next => break Turn::Tell(next),
                        received = socket.recv() => {
                            *heard_at = Instant::now();
                            match received? {
                                Ok(Message::Close(_)) => return Some((close::NORMAL, "")),
                                Ok(message) if rate.is_exceeded(&message, *heard_at) => {
                                    return Some((close::POLICY, "at most 5 frames a second"));
                                }
                                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                                Ok(message) => break Turn::Hear(message),
                                Err(error) => return refusal(error),
                            }
                        }
                    }
                }
            };
            let message = match turn {
                Turn::Hear(message) => return Some(Box::pin(frames.hear(message)).await),
                Turn::Tell(Some(Next::Frame(frame))) => text(&frame),
                Turn::Tell(Some(Next::End(end))) => return Some(end),
                Turn::Tell(None) if heard_at.elapsed() >= SILENCE_MAX => return None,
                Turn::Tell(None) => {
                    *ping_at = Instant::now() + PING_EVERY;
                    Message::Ping(Bytes::new())
                }
            };
            match timeout(SEND_WAIT, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((close::TOO_SLOW, "frames were not read; connect again")),
            }
        }
    }
}

/// Whose turn it is.
enum Turn<F> {
    Tell(Option<Next<F>>),
    Hear(Message),
}

fn text(frame: &impl Serialize) -> Message {
    let text = serde_json::to_string(frame).expect("a frame is plain JSON");
    Message::Text(text.into())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, extract::WebSocketUpgrade, routing};
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::{net::TcpListener, time::sleep};
    use tokio_tungstenite::{connect_async, tungstenite};

    use super::*;
    use crate::Shutdown;

    const LOOK: Duration = Duration::from_millis(600);

    /// Tells one frame, after a look that takes its time.
    struct OneLook {
        n_begun: Arc<AtomicUsize>,
    }

    impl Frames for OneLook {
        type Frame = &'static str;

        async fn next(&mut self, _: Instant) -> Option<Next<&'static str>> {
            self.n_begun.fetch_add(1, Ordering::Relaxed);
            sleep(LOOK).await;
            Some(Next::Frame("found"))
        }

        async fn hear(&mut self, _: Message) -> End {
            (close::POLICY, "no frames are expected")
        }

        fn ended(_: Option<End>) {}
    }

    #[tokio::test]
    async fn a_look_that_is_on_its_way_goes_on_while_the_client_pongs() {
        let n_begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_begun);
        let upgrade = move |upgrade: WebSocketUpgrade| async move {
            upgrade.on_upgrade(move |socket| talk(socket, OneLook { n_begun: counted }))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Router::new().route("/", routing::get(upgrade));
        let shutdown = Shutdown::default();
        shutdown.spawn(async move { axum::serve(listener, service).await.unwrap() });
        let (mut client, _) = connect_async(format!("ws://{address}/")).await.unwrap();
        for _ in 0..4 {
            client.send(tungstenite::Message::Pong(Bytes::new())).await.unwrap();
            sleep(LOOK / 6).await;
        }
        let told = async {
            loop {
                if let tungstenite::Message::Text(told) = client.next().await.unwrap().unwrap() {
                    break told;
                }
            }
        };
        let told = timeout(LOOK * 10, told).await.expect("the look ends");
        assert_eq!(told.as_str(), "\"found\"");
        // The next may have begun.
        assert!(n_begun.load(Ordering::Relaxed) <= 2);
    }
}
