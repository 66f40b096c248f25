//! What all WebSockets have in common: what a socket costs at most, how fast a client may send, how
//! unreadable frames are refused, and a close that lets the client see the reason.

mod talk;
mod register;
mod frame_rate;
mod end;

use std::future::Future;

use axum::{
    Extension,
    extract::{
        FromRequestParts,
        ws::{WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::request::Parts,
    response::{IntoResponse, Response},
};
use contract::{
    access::Token,
    api::{
        problem::Code,
        socket::{BEARER_PROTOCOL, SUBPROTOCOL},
    },
};
use futures_util::FutureExt as _;

use super::{
    ApiError, ApiResult, ClientConnection, SignedIn, extract, limits::offered, origin_is_allowed,
};
use crate::Shutdown;
pub use end::{End, SEND_WAIT};
pub use register::{SocketSlot, Sockets};
pub use talk::{Frames, Next, talk};

/// Longest frame a client may send.
const FRAME_BYTES_MAX: usize = 4 * 1024;
/// Small, because clients send next to nothing and every socket keeps a buffer.
const READ_BUFFER_BYTES: usize = 1024;
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Seconds after which a client that finds the node full should come back.
const RETRY_AFTER_S: u64 = 2;

/// A request to a socket's path: an upgrade, or an ordinary request by mistake.
pub struct SocketRequest {
    origin_is_allowed: bool,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    connection: ClientConnection,
}

impl<S: Send + Sync> FromRequestParts<S> for SocketRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let door = extract::door(parts).map_err(IntoResponse::into_response)?;
        let origin_is_allowed = origin_is_allowed(&parts.headers, door);
        let connection = Extension::<ClientConnection>::from_request_parts(parts, state).await;
        let Extension(connection) = connection.map_err(IntoResponse::into_response)?;
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self { origin_is_allowed, upgrade, connection })
    }
}

impl SocketRequest {
    /// The upgrade, if it is allowed. Otherwise 426 if it is no upgrade, with what to do `instead`;
    /// 403 for a page of another origin; 503 if the node is full.
    pub fn allowed(self, instead: &str) -> ApiResult<(WebSocketUpgrade, ClientConnection)> {
        let upgrade =
            self.upgrade.map_err(|_| ApiError::new(Code::UpgradeRequired, instead.to_owned()))?;
        if !self.origin_is_allowed {
            let detail = "pages of this origin may not open sockets";
            return Err(ApiError::new(Code::OriginRefused, detail));
        }
        may_stay(&self.connection)?;
        Ok((upgrade, self.connection))
    }
}

/// The caller of a socket: by the subprotocol, for clients that cannot set headers, or by header.
pub struct SocketCaller(pub Token);

impl<S: Send + Sync> FromRequestParts<S> for SocketCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        if let Some(token) = offered(&parts.headers, BEARER_PROTOCOL) {
            return extract::door(parts)?.access.verify(token).map(Self);
        }
        SignedIn::from_request_parts(parts, state).await.map(|SignedIn(caller)| Self(caller))
    }
}

/// Whether a connection may stay open for as long as its client likes; 503 if the node is full.
pub fn may_stay(connection: &ClientConnection) -> ApiResult<()> {
    if connection.may_stay() {
        return Ok(());
    }
    metrics::counter!("usher_http_sockets_refused_total").increment(1);
    let detail = "this node has no room for another socket; connect again";
    Err(ApiError::unavailable(Code::NodeFull, detail, RETRY_AFTER_S))
}

/// Takes a socket over. Until it has been served, it counts as one of the listener's connections,
/// and a stopping process waits for it.
pub fn accept<F: Future<Output = ()> + Send + 'static>(
    upgrade: WebSocketUpgrade,
    connection: ClientConnection,
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
            // Serve in a new task, because this one keeps the memory of the whole handshake.
            shutdown.spawn(serve(socket).map(|()| drop(connection)));
        })
}
