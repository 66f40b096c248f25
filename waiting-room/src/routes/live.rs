//! Upgrading a request to a WebSocket.

use std::sync::Arc;

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use contract::{
    ShowId, TicketId,
    api::{line::PLACE_TICKET_PROTOCOL, socket::BEARER_PROTOCOL},
};
use platform::http::{
    ApiError, ApiResult, Door, OptionalCaller, Params,
    limits::offered,
    socket::{SocketRequest, accept, talk},
};

use super::{
    place::find,
    request::{PlaceParams, PlacePath, header_ticket, proof, sale_and_line},
};
use crate::{places::watch::Watch, room::WaitingRoom};

/// WebSocket: the frames of a place.
///
/// Offer the subprotocols `usher.v1` and, as credential, `place-ticket.<ticket>` or
/// `bearer.<token>`; or send the ticket as a parameter.
#[utoipa::path(
    get, path = "/shows/{id}/queue/{ticketId}/live", tag = "waiting room",
    params(
        ("id" = ShowId, Path), ("ticketId" = TicketId, Path),
        ("placeTicket" = Option<String>, Query), ("Sec-WebSocket-Protocol" = Option<String>, Header),
    ),
    responses(
        (status = 101, description = "frames of LineFrame; VisitorFrame from the client"),
        (status = 401, description = "UNAUTHENTICATED, PLACE_TICKET_INVALID"),
        (status = 403, description = "ORIGIN_REFUSED"),
        (status = 404, description = "SHOW_NOT_FOUND, PLACE_NOT_FOUND"),
        (status = 426, description = "UPGRADE_REQUIRED"),
        (status = 503, description = "LINE_UNAVAILABLE, NODE_FULL"),
    ),
    security(("bearer" = []), ())
)]
pub(super) async fn watch(
    State(room): State<Arc<WaitingRoom>>,
    Extension(door): Extension<Door>,
    path: PlacePath,
    Params(params): Params<PlaceParams>,
    headers: HeaderMap,
    caller: Result<OptionalCaller, ApiError>,
    request: SocketRequest,
) -> ApiResult<Response> {
    let instead = "this is a WebSocket; for a stream over HTTP ask the place for text/event-stream";
    let (upgrade, connection) = request.allowed(instead)?;
    let shown = offered(&headers, PLACE_TICKET_PROTOCOL).map(str::to_owned);
    let ticket = match shown.or(params.place_ticket) {
        Some(ticket) => Some(ticket),
        None => header_ticket(&headers)?,
    };
    let token = match offered(&headers, BEARER_PROTOCOL) {
        Some(token) => Some(door.access.verify(token)?),
        None if ticket.is_some() => None,
        None => caller?.0,
    };
    let account = token.map(|token| token.account);
    let proof = proof(&room, path.show, ticket.as_deref(), path.shown.as_ref(), account)?;
    let (sale, line) = sale_and_line(&room, path.show, &proof).await?;
    let found = find(&room, &line, &sale, path.ticket, &proof).await?;
    let shutdown = room.shutdown.clone();
    // A socket opened with a place ticket needs no account, so no token's end closes it.
    let token_watch = token.filter(|_| ticket.is_none()).map(|token| door.access.watch(token));
    let serve = move |socket| talk(socket, Watch::start(room, line, found, token_watch));
    Ok(accept(upgrade, connection, shutdown, serve))
}
