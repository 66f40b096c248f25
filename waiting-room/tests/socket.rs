//! A socket from the client's side.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::harness::SOON;

pub(crate) struct Socket {
    pub(crate) protocol: Option<String>,
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What the client hears on a socket.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(Value),
    Closed(u16, String),
}

impl Socket {
    pub(crate) async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let message =
                timeout(SOON, self.socket.next()).await.expect("the server says something");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Frame(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Heard::Closed(close.code.into(), close.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => {
                    return Heard::Closed(0, String::new());
                }
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Value {
        match self.hear().await {
            Heard::Frame(frame) => frame,
            Heard::Closed(code, reason) => panic!("closed with {code}: {reason}"),
        }
    }

    /// The next frame of this type; others are skipped.
    pub(crate) async fn frame_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let Heard::Closed(code, _) = self.hear().await {
                return code;
            }
        }
    }
}
