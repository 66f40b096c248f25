//! WebSockets of a client: the subprotocol, the credential beside it, JSON frames.

use std::{net::IpAddr, time::Duration};

use contract::api::socket::{SUBPROTOCOL, close};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_with_config, connect_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, Uri},
        protocol::WebSocketConfig,
    },
};

use crate::{CallError, Client};

const OPEN_WAIT: Duration = Duration::from_secs(15);
/// Small, because a crowd holds thousands of sockets in one process.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// An open socket that speaks `usher.v1`.
pub struct Socket {
    wire: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The pause before connecting again, if the server gave one in its close frame.
    retry: Option<Duration>,
}

impl Socket {
    /// Opens the socket at a path or URL that the server gave; `credential` is offered as a
    /// subprotocol.
    pub async fn open(client: &Client, at: &str, credential: &str) -> Result<Self, CallError> {
        let refused = |error: &dyn std::fmt::Display| CallError::Socket(error.to_string());
        let url = client.socket_url(at);
        let mut request = url.into_client_request().map_err(|error| refused(&error))?;
        let offered = format!("{SUBPROTOCOL}, {credential}");
        let headers = request.headers_mut();
        for (name, value) in
            [("sec-websocket-protocol", offered), ("x-forwarded-for", client.address().to_string())]
        {
            headers.insert(name, HeaderValue::from_str(&value).map_err(|error| refused(&error))?);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(64 * 1024));
        let opening = async {
            match client.local() {
                None => connect_async_with_config(request, Some(config), true).await,
                Some(local) => {
                    let stream = MaybeTlsStream::Plain(connect_from(local, request.uri()).await?);
                    client_async_with_config(request, stream, Some(config)).await
                }
            }
        };
        match timeout(OPEN_WAIT, opening).await {
            Ok(Ok((wire, _))) => Ok(Self { wire, retry: None }),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(CallError::Socket(format!("not open after {OPEN_WAIT:?}"))),
        }
    }

    /// The next frame; `None` once the socket is closed or lost.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CallError> {
        loop {
            match self.wire.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map(Some)
                        .map_err(|error| CallError::Unexpected(format!("a frame: {error}")));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(end))) => {
                    self.retry = end.and_then(|end| close::retry_in(&end.reason));
                    return Ok(None);
                }
                Some(Err(_)) | None => return Ok(None),
                Some(Ok(other)) => {
                    return Err(CallError::Unexpected(format!("a frame {other:?}")));
                }
            }
        }
    }

    /// The pause before connecting again: the server's, or a random one.
    #[must_use]
    pub fn comes_back_after(&self) -> Duration {
        self.retry.unwrap_or_else(|| Duration::from_millis(fastrand::u64(200..1_000)))
    }

    /// Sends a frame.
    pub async fn tell(&mut self, frame: &impl Serialize) -> Result<(), CallError> {
        let text = serde_json::to_string(frame).expect("a frame is plain JSON");
        let sent = self.wire.send(Message::text(text)).await;
        sent.map_err(|error| CallError::Socket(error.to_string()))
    }

    /// Closes the socket; one that is closed already is not an error.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(2), self.wire.close(None)).await;
    }
}

async fn connect_from(local: IpAddr, to: &Uri) -> std::io::Result<TcpStream> {
    let host = to.host().unwrap_or_default();
    let mut found = lookup_host((host, to.port_u16().unwrap_or(80))).await?;
    let peer = found.find(|peer| peer.is_ipv4() == local.is_ipv4());
    let peer = peer.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    socket.bind((local, 0).into())?;
    socket.connect(peer).await
}
