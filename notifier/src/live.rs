//! The two sockets: one booking, or all of the caller's.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use contract::{
    BookingId,
    access::Token,
    api::{bookings::BookingFrame, problem::Code},
};
use platform::http::{
    ApiError, ApiResult, Door, PathId,
    socket::{SocketCaller, SocketRequest, accept, talk},
};

use crate::{notifier::Notifier, socket::Teller};

/// WebSocket: the booking as it is, at once, and then at each change.
#[utoipa::path(get, path = "/bookings/{id}/live", tag = "live",
    params(("id" = BookingId, Path), ("Sec-WebSocket-Protocol" = Option<String>, Header,
        description = "`usher.v1`, and `bearer.<access token>` where no Authorization header can be set")),
    responses((status = 101, description = "frames of BookingFrame", body = BookingFrame),
        (status = 403, description = "ORIGIN_REFUSED"),
        (status = 404, description = "BOOKING_NOT_FOUND"),
        (status = 426, description = "UPGRADE_REQUIRED"), (status = 503, description = "NODE_FULL")),
    security(("bearer" = [])))]
pub(crate) async fn watch_booking(
    State(notifier): State<Arc<Notifier>>,
    PathId(id): PathId<BookingId>,
    SocketCaller(caller): SocketCaller,
    Extension(door): Extension<Door>,
    request: SocketRequest,
) -> ApiResult<Response> {
    if !notifier.ids.belongs_to(id, caller.account) {
        return Err(ApiError::not_found(Code::BookingNotFound));
    }
    open(notifier, caller, Some(id), &door, request)
}

/// WebSocket: every change of the caller's bookings.
#[utoipa::path(get, path = "/live", tag = "live",
    responses((status = 101, description = "frames of BookingFrame", body = BookingFrame),
        (status = 403, description = "ORIGIN_REFUSED"),
        (status = 426, description = "UPGRADE_REQUIRED"), (status = 503, description = "NODE_FULL")),
    security(("bearer" = [])))]
pub(crate) async fn watch_account(
    State(notifier): State<Arc<Notifier>>,
    SocketCaller(caller): SocketCaller,
    Extension(door): Extension<Door>,
    request: SocketRequest,
) -> ApiResult<Response> {
    open(notifier, caller, None, &door, request)
}

fn open(
    notifier: Arc<Notifier>,
    caller: Token,
    only: Option<BookingId>,
    door: &Door,
    request: SocketRequest,
) -> ApiResult<Response> {
    let (upgrade, connection) = request.allowed("this is a WebSocket: open it as one")?;
    let shutdown = notifier.shutdown.clone();
    let token_watch = door.access.watch(caller);
    let serve =
        move |socket| talk(socket, Teller::new(notifier, token_watch, caller.account, only));
    Ok(accept(upgrade, connection, shutdown, serve))
}
