//! The two sockets: one booking, or all of the caller's.

use axum::{extract::State, http::HeaderMap, response::Response};
use contract::{
    BookingId,
    access::Token,
    api::{bookings::BookingFrame, problem::Code, socket::BEARER_PROTOCOL},
};
use platform::http::{
    ApiError, ApiResult, Door, PathId, SignedIn,
    limits::offered,
    socket::{SocketRequest, accept, talk},
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
pub(crate) async fn of_booking(
    State(notifier): State<Notifier>,
    id: Result<PathId<BookingId>, ApiError>,
    axum::Extension(door): axum::Extension<Door>,
    caller: Result<SignedIn, ApiError>,
    headers: HeaderMap,
    request: SocketRequest,
) -> ApiResult<Response> {
    let PathId(id) = id?;
    let caller = who(&door, caller, &headers)?;
    if !notifier.ids.belongs_to(id, caller.account) {
        return Err(ApiError::not_found(Code::BookingNotFound));
    }
    open(notifier, caller, Some(id), &door, &headers, request)
}

/// WebSocket: every change of the caller's bookings.
#[utoipa::path(get, path = "/live", tag = "live",
    responses((status = 101, description = "frames of BookingFrame", body = BookingFrame),
        (status = 403, description = "ORIGIN_REFUSED"),
        (status = 426, description = "UPGRADE_REQUIRED"), (status = 503, description = "NODE_FULL")),
    security(("bearer" = [])))]
pub(crate) async fn of_account(
    State(notifier): State<Notifier>,
    axum::Extension(door): axum::Extension<Door>,
    caller: Result<SignedIn, ApiError>,
    headers: HeaderMap,
    request: SocketRequest,
) -> ApiResult<Response> {
    let caller = who(&door, caller, &headers)?;
    open(notifier, caller, None, &door, &headers, request)
}

/// The caller by header, or by the subprotocol, for clients that cannot set headers.
fn who(door: &Door, caller: Result<SignedIn, ApiError>, headers: &HeaderMap) -> ApiResult<Token> {
    match offered(headers, BEARER_PROTOCOL) {
        Some(token) => door.access.verify(token),
        None => caller.map(|SignedIn(caller)| caller),
    }
}

fn open(
    notifier: Notifier,
    caller: Token,
    only: Option<BookingId>,
    door: &Door,
    headers: &HeaderMap,
    request: SocketRequest,
) -> ApiResult<Response> {
    let instead = "this is a WebSocket: open it as one";
    let (upgrade, connection) = request.allowed(headers, door, instead)?;
    let shutdown = notifier.shutdown.clone();
    let token_watch = door.access.watch(caller);
    let serve =
        move |socket| talk(socket, Teller::new(notifier, token_watch, caller.account, only));
    Ok(accept(upgrade, connection, shutdown, serve))
}
