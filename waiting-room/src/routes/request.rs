//! What a request to the waiting room asks for and proves.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use contract::{ShowId, TicketId, api::problem::Code, place_ticket::Place};
use platform::http::{ApiError, path_ids};
use serde::Deserialize;
use store::sale::Sale;

use crate::{line::Line, places::Proof, room::WaitingRoom};

/// The header that carries a place ticket.
const PLACE_TICKET: &str = "place-ticket";

/// The parameters of a place's routes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlaceParams {
    pub(crate) place_ticket: Option<String>,
}

/// The show and the ticket in a path, and the place ticket if the limits have verified it.
pub(crate) struct PlacePath {
    pub(crate) show: ShowId,
    pub(crate) ticket: TicketId,
    pub(crate) shown: Option<Shown>,
}

impl<S: Send + Sync> FromRequestParts<S> for PlacePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (show, ticket) = path_ids(parts, state, ["id", "ticketId"]).await?;
        Ok(Self { show, ticket, shown: parts.extensions.remove() })
    }
}

/// The place ticket in a header.
pub(crate) fn header_ticket(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(PLACE_TICKET) else { return Ok(None) };
    value.to_str().map(|text| Some(text.to_owned())).map_err(|_| bad_ticket())
}

/// A place ticket that the limits have verified.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) ticket: String,
    pub(crate) place: Place,
}

/// The place a ticket proves, for this show; 401 where it proves none.
pub(crate) fn proven(
    room: &WaitingRoom,
    show: ShowId,
    ticket: &str,
    shown: Option<&Shown>,
) -> Result<Place, ApiError> {
    let place = match shown {
        Some(shown) if shown.ticket == ticket => Some(shown.place.clone()),
        _ => room.place_keys.verify(ticket),
    };
    place.filter(|place| place.show == show).ok_or_else(bad_ticket)
}

/// 401 for a ticket that is forged, edited, another show's or another account's.
pub(crate) fn bad_ticket() -> ApiError {
    metrics::counter!("usher_line_ticket_refused_total").increment(1);
    ApiError::new(
        Code::PlaceTicketInvalid,
        "this place ticket is not valid here; join the line again without it",
    )
}

/// The proof of a request for a place: its place ticket, or else the account.
pub(crate) fn proof(
    room: &WaitingRoom,
    show: ShowId,
    ticket: Option<&str>,
    shown: Option<&Shown>,
    account: Option<contract::AccountId>,
) -> Result<Proof, ApiError> {
    match (ticket, account) {
        (Some(ticket), _) => Ok(Proof::Ticket(proven(room, show, ticket, shown)?)),
        (None, Some(account)) => Ok(Proof::Account(account)),
        (None, None) => Err(ApiError::unauthenticated()),
    }
}

/// The sale of a show, and its line on this node. A place ticket proves that there is a line; for
/// an account alone, a line that nobody ever joined is not begun.
pub(crate) async fn sale_and_line(
    room: &Arc<WaitingRoom>,
    show: ShowId,
    proof: &Proof,
) -> Result<(Arc<Sale>, Arc<Line>), ApiError> {
    if let Proof::Account(account) = proof {
        room.limits.guess(account)?;
    }
    let (sale, _) = room.sale(show).ok_or_else(|| room.no_sale(show))?;
    let line = match proof {
        Proof::Ticket(_) => Some(room.line(&sale)),
        Proof::Account(_) => room.opened_line(&sale).await?,
    };
    let line = line.ok_or_else(|| ApiError::not_found(Code::PlaceNotFound))?;
    Ok((sale, line))
}
