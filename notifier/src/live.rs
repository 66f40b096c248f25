//! The two sockets: one booking, or all of the caller's.

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use contract::{
    AccountId, BookingId,
    access::Caller,
    api::{
        bookings::BookingFrame,
        line::{BEARER_PROTOCOL, SUBPROTOCOL},
    },
};
use platform::{
    clock,
    http::{ApiError, ApiResult, Door, PathId, SignedIn, origin_is_allowed},
};

use crate::{Ears, socket};

/// Most bytes a client's frame may have.
const FRAME_BYTES_MAX: usize = 4 * 1024;

/// What the sockets look like, as far as OpenAPI can say.
#[derive(utoipa::OpenApi)]
#[openapi(paths(of_booking, of_account), components(schemas(BookingFrame)))]
pub(crate) struct Document;

/// WebSocket: the booking as it is, at once, and then at each change.
#[utoipa::path(get, path = "/api/v1/bookings/{id}/live", tag = "live",
    params(("id" = BookingId, Path), ("Sec-WebSocket-Protocol" = Option<String>, Header,
        description = "`usher.v1`, and `bearer.<access token>` where no Authorization header can be set")),
    responses((status = 101, description = "frames of BookingFrame", body = BookingFrame),
        (status = 401, description = "UNAUTHENTICATED"), (status = 403, description = "ORIGIN_REFUSED"),
        (status = 404, description = "BOOKING_NOT_FOUND"),
        (status = 426, description = "UPGRADE_REQUIRED")),
    security(("bearer" = [])))]
pub(crate) async fn of_booking(
    State(ears): State<Ears>,
    id: Result<PathId<BookingId>, ApiError>,
    axum::Extension(door): axum::Extension<Door>,
    caller: Result<SignedIn, ApiError>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let PathId(id) = id?;
    let account = who(&door, caller, &headers)?;
    if !ears.ids.belongs_to(id, account) {
        return Err(ApiError::not_found("BOOKING_NOT_FOUND"));
    }
    open(ears, account, Some(id), &door, &headers, upgrade)
}

/// WebSocket: every change of the caller's bookings.
#[utoipa::path(get, path = "/api/v1/live", tag = "live",
    responses((status = 101, description = "frames of BookingFrame", body = BookingFrame),
        (status = 401, description = "UNAUTHENTICATED"), (status = 403, description = "ORIGIN_REFUSED"),
        (status = 426, description = "UPGRADE_REQUIRED")),
    security(("bearer" = [])))]
pub(crate) async fn of_account(
    State(ears): State<Ears>,
    axum::Extension(door): axum::Extension<Door>,
    caller: Result<SignedIn, ApiError>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let account = who(&door, caller, &headers)?;
    open(ears, account, None, &door, &headers, upgrade)
}

/// The caller by header, or by the subprotocol of a client that can set no header.
fn who(
    door: &Door,
    caller: Result<SignedIn, ApiError>,
    headers: &HeaderMap,
) -> ApiResult<AccountId> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let token = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER_PROTOCOL));
    let caller = match token {
        Some(token) => {
            door.access.verify(token, clock::now()).ok_or_else(ApiError::unauthenticated)
        }
        None => caller.map(|SignedIn(caller)| caller),
    };
    caller.map(|Caller { account, .. }| account)
}

fn open(
    ears: Ears,
    account: AccountId,
    only: Option<BookingId>,
    door: &Door,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    if !origin_is_allowed(headers, door) {
        let detail = "pages of this origin may not open sockets here";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "ORIGIN_REFUSED", detail));
    }
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "UPGRADE_REQUIRED",
            "this is a WebSocket: open it as one",
        )
    })?;
    // The defaults keep 128 KiB for each socket and buffer writes without bound.
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .on_upgrade(move |socket| socket::tell(socket, ears, account, only)))
}
