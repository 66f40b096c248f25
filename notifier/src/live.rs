//! The sockets: one booking, all of the caller's, or the seats of a show.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use contract::{
    BookingId, ShowId,
    access::Token,
    api::{bookings::BookingFrame, catalogue::SeatsFrame, problem::Code},
};
use platform::http::{
    ApiError, ApiResult, Door, PathId,
    socket::{SocketCaller, SocketRequest, accept, talk},
};

use crate::{notifier::Notifier, seats_socket::SeatTeller, socket::Teller};

const INSTEAD: &str = "this is a WebSocket: open it as one";

/// WebSocket: the booking as it is, at once, and then at each change.
#[utoipa::path(get, path = "/bookings/{id}/live", tag = "live",
    params(("id" = BookingId, Path), ("Sec-WebSocket-Protocol" = Option<String>, Header,
        description = "`usher.v1`, and `bearer.<access token>` where no Authorization header can be set")),
    responses((status = 101, description = "frames of BookingFrame", body = BookingFrame),
        (status = 403, description = "ORIGIN_REFUSED"),
        (status = 404, description = "BOOKING_NOT_FOUND"),
        (status = 426, description = "UPGRADE_REQUIRED"), (status = 503, description = "NODE_FULL")),
    security(("bearer" = [])))]
pub(super) async fn watch_booking(
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
pub(super) async fn watch_account(
    State(notifier): State<Arc<Notifier>>,
    SocketCaller(caller): SocketCaller,
    Extension(door): Extension<Door>,
    request: SocketRequest,
) -> ApiResult<Response> {
    open(notifier, caller, None, &door, request)
}

/// WebSocket: which seats of a show are held and sold, at once, and then each change.
///
/// Needs an account, because the sockets of an account are limited. Others read the seat map again,
/// with its `ETag`.
#[utoipa::path(get, path = "/shows/{id}/seats/live", tag = "live",
    params(("id" = ShowId, Path), ("Sec-WebSocket-Protocol" = Option<String>, Header,
        description = "`usher.v1`, and `bearer.<access token>` where no Authorization header can be set")),
    responses((status = 101, description = "frames of SeatsFrame", body = SeatsFrame),
        (status = 403, description = "ORIGIN_REFUSED"),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 426, description = "UPGRADE_REQUIRED"),
        (status = 503, description = "NODE_FULL, DATABASE_UNAVAILABLE")),
    security(("bearer" = [])))]
pub(super) async fn watch_seats(
    State(notifier): State<Arc<Notifier>>,
    PathId(show): PathId<ShowId>,
    SocketCaller(caller): SocketCaller,
    Extension(door): Extension<Door>,
    request: SocketRequest,
) -> ApiResult<Response> {
    let (upgrade, connection) = request.allowed(INSTEAD)?;
    let watcher = notifier.seats.watch(show, caller.account).await?;
    let shutdown = notifier.shutdown.clone();
    let teller = SeatTeller::new(watcher, door.access.watch(caller), shutdown.clone());
    Ok(accept(upgrade, connection, shutdown, move |socket| talk(socket, teller)))
}

fn open(
    notifier: Arc<Notifier>,
    caller: Token,
    only: Option<BookingId>,
    door: &Door,
    request: SocketRequest,
) -> ApiResult<Response> {
    let (upgrade, connection) = request.allowed(INSTEAD)?;
    let shutdown = notifier.shutdown.clone();
    let token_watch = door.access.watch(caller);
    let serve =
        move |socket| talk(socket, Teller::new(notifier, token_watch, caller.account, only));
    Ok(accept(upgrade, connection, shutdown, serve))
}
