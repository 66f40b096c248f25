//! Upgrading to a socket: who may.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contract::{
    ShowId, TicketId,
    api::{
        line::{BEARER_PROTOCOL, PLACE_TICKET_PROTOCOL, SUBPROTOCOL},
        problem::Problem,
    },
};
use platform::{
    clock,
    http::{ApiError, ApiResult, Door, OptionalCaller, Params, origin_is_allowed},
};

use super::{
    place::find,
    request::{PlaceParams, PlacePath, header_ticket, proof, sale_and_line},
    socket::{self, FRAME_BYTES_MAX},
};
use crate::{room::Room, watch::Watch};

const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The frames of a place over a WebSocket. Offer the subprotocols `usher.v1` and, as credential,
/// `place-ticket.<ticket>` or `bearer.<token>`; or send the ticket as a parameter.
#[utoipa::path(
    get, path = "/api/v1/shows/{id}/queue/{ticketId}/live", tag = "Waiting room",
    params(
        ("id" = ShowId, Path), ("ticketId" = TicketId, Path),
        ("placeTicket" = Option<String>, Query), ("Sec-WebSocket-Protocol" = Option<String>, Header),
    ),
    responses(
        (status = 101, description = "frames of LineFrame; VisitorFrame from the client"),
        (status = 401, body = Problem, description = "UNAUTHENTICATED, PLACE_TICKET_INVALID"),
        (status = 403, body = Problem, description = "ORIGIN_REFUSED"),
        (status = 404, body = Problem, description = "SHOW_NOT_FOUND, PLACE_NOT_FOUND"),
        (status = 426, body = Problem, description = "UPGRADE_REQUIRED"),
        (status = 503, body = Problem, description = "LINE_UNAVAILABLE"),
    ),
    security(("bearer" = []), ())
)]
pub(crate) async fn live(
    State(room): State<Arc<Room>>,
    Extension(door): Extension<Door>,
    path: PlacePath,
    Params(params): Params<PlaceParams>,
    headers: HeaderMap,
    caller: Result<OptionalCaller, ApiError>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "UPGRADE_REQUIRED",
            "this is a WebSocket; for a stream over HTTP ask the place for text/event-stream",
        )
    })?;
    if !origin_is_allowed(&headers, &door) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "ORIGIN_REFUSED",
            "pages of this origin may not open sockets here",
        ));
    }
    let offered = |prefix: &str| {
        let mut protocols = upgrade.requested_protocols().filter_map(|value| value.to_str().ok());
        protocols.find_map(|protocol| protocol.strip_prefix(prefix)).map(str::to_owned)
    };
    let ticket = match offered(PLACE_TICKET_PROTOCOL).or(params.place_ticket) {
        Some(ticket) => Some(ticket),
        None => header_ticket(&headers)?,
    };
    let account = match offered(BEARER_PROTOCOL) {
        Some(token) => {
            let caller = door.access.verify(&token, clock::now());
            Some(caller.ok_or_else(ApiError::unauthenticated)?.account)
        }
        None if ticket.is_some() => None,
        None => caller?.0.map(|caller| caller.account),
    };
    let proof = proof(&room, path.show, ticket.as_deref(), account)?;
    let (sale, line) = sale_and_line(&room, path.show)?;
    let found = find(&room, &line, &sale, path.ticket, &proof).await?;
    let shutdown = room.shutdown.clone();
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        // Through the shutdown, so that stopping waits until everybody has been told.
        let _ = shutdown
            .spawn(async move {
                let watch = Watch::start(room, line, found).await;
                socket::serve(socket, watch).await;
            })
            .await;
    }))
}
