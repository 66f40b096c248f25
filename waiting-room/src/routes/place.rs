//! Joining a line, asking for a place, leaving.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use contract::{
    AccountId, ShowId, TicketId,
    api::{
        BASE,
        catalogue::RoomMode,
        line::{JoinRequest, PlaceState, PlaceStatus},
        problem::Code,
    },
    place_ticket::Place,
};
use platform::http::{
    ApiError, ApiResult, ClientConnection, Door, OptionalBody, OptionalCaller, Params, PathId,
    SignedIn, asks_for, retry_after, socket::may_stay,
};
use store::sale::Sale;

use super::{
    events, guard,
    request::{
        PlaceParams, PlacePath, Shown, bad_ticket, header_ticket, proof, proven, sale_and_line,
    },
};
use crate::{
    line::{
        Line, cadence,
        gate::{self, Gate, Opening, Unjoinable},
    },
    places::{self, Back, FoundPlace, Life, Proof, admitted, watch::Watch},
    room::{WaitingRoom, challenge::Joining},
    scripts::keys::LineKeys,
};

/// Takes a place in the line of a show; the same one on every call.
#[utoipa::path(
    post, path = "/shows/{id}/queue", tag = "waiting room",
    params(
        ("id" = ShowId, Path), ("Place-Ticket" = Option<String>, Header),
        ("Challenge-Solution" = Option<String>, Header),
    ),
    request_body(content = JoinRequest, description = "may be empty"),
    responses(
        (status = 201, body = PlaceStatus),
        (status = 200, body = PlaceStatus, description = "the account has a place already"),
        (status = 401, description = "UNAUTHENTICATED, PLACE_TICKET_INVALID"),
        (status = 403, description = "CHALLENGE_REQUIRED, with `challenge` (see Posed), where challenges are on"),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SALE_NOT_OPEN with Retry-After, SALE_CLOSED, ROOM_CLOSED"),
        (status = 503, description = "LINE_UNAVAILABLE"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn join(
    State(room): State<Arc<WaitingRoom>>,
    PathId(show): PathId<ShowId>,
    SignedIn(caller): SignedIn,
    shown: Option<Extension<Shown>>,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<JoinRequest>,
) -> ApiResult<Response> {
    let back = match body.place_ticket.or(header_ticket(&headers)?) {
        Some(ticket) => Some(proven(&room, show, &ticket, shown.as_deref())?),
        None => None,
    };
    if back.as_ref().is_some_and(|place| place.account != caller.account) {
        return Err(bad_ticket());
    }
    let (sale, now) = room.sale(show).ok_or_else(|| room.no_sale(show))?;
    gate::joinable(&sale, now).map_err(refusal)?;
    if sale.room.mode == RoomMode::Off {
        return Ok((StatusCode::CREATED, Json(without_a_line(&room, show, caller.account)))
            .into_response());
    }
    let joining = Joining { show, account: caller.account, now };
    let back = match back {
        // A valid place ticket proves that there is a line.
        Some(place) => places::back_to(&room, &room.line(&sale), &sale, place).await?,
        None => Back::Nowhere,
    };
    let proves_a_place = !matches!(back, Back::Nowhere);
    guard::solved(&room, &LineKeys::of(show), joining, proves_a_place, &headers).await?;
    let line = room.line(&sale);
    let (is_new, found) = places::join(&room, &line, &sale, caller.account, back).await?;
    metrics::counter!("usher_line_joins_total", "new" => if is_new { "yes" } else { "no" })
        .increment(1);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(status, describe(&room, &line, &sale, found).await))
}

/// The state of a place, or with `Accept: text/event-stream` its frames.
#[utoipa::path(
    get, path = "/shows/{id}/queue/{ticketId}", tag = "waiting room",
    params(
        ("id" = ShowId, Path), ("ticketId" = TicketId, Path),
        ("placeTicket" = Option<String>, Query), ("Place-Ticket" = Option<String>, Header),
    ),
    responses(
        (status = 200, body = PlaceStatus, description = "Retry-After says when to ask again"),
        (status = 401, description = "UNAUTHENTICATED, PLACE_TICKET_INVALID"),
        (status = 404, description = "SHOW_NOT_FOUND, PLACE_NOT_FOUND"),
        (status = 503, description = "LINE_UNAVAILABLE; NODE_FULL for a stream"),
    ),
    security(("bearer" = []), ())
)]
pub(super) async fn read(
    State(room): State<Arc<WaitingRoom>>,
    path: PlacePath,
    Params(params): Params<PlaceParams>,
    headers: HeaderMap,
    OptionalCaller(caller): OptionalCaller,
    Extension(door): Extension<Door>,
    Extension(connection): Extension<ClientConnection>,
) -> ApiResult<Response> {
    if asks_for(&headers, "text/event-stream") {
        may_stay(&connection)?;
    }
    let proof = proof_of(&room, &path, params, &headers, caller.map(|caller| caller.account))?;
    let (sale, line) = sale_and_line(&room, path.show, &proof).await?;
    let found = find(&room, &line, &sale, path.ticket, &proof).await?;
    if asks_for(&headers, "text/event-stream") {
        // A stream opened with a place ticket needs no account, so no token's end closes it.
        let by_account = matches!(proof, Proof::Account(_));
        let token_watch = caller.filter(|_| by_account).map(|token| door.access.watch(token));
        let watch = Watch::start(Arc::clone(&room), line, found, token_watch);
        return Ok(events::stream(&room.shutdown, watch));
    }
    Ok(answer(StatusCode::OK, describe(&room, &line, &sale, found).await))
}

/// Gives a place back at once, and its pass with it. An admin can do so for every place.
#[utoipa::path(
    delete, path = "/shows/{id}/queue/{ticketId}", tag = "waiting room",
    params(
        ("id" = ShowId, Path), ("ticketId" = TicketId, Path),
        ("placeTicket" = Option<String>, Query), ("Place-Ticket" = Option<String>, Header),
    ),
    responses(
        (status = 204),
        (status = 401, description = "UNAUTHENTICATED, PLACE_TICKET_INVALID"),
        (status = 404, description = "SHOW_NOT_FOUND, PLACE_NOT_FOUND"),
        (status = 503, description = "LINE_UNAVAILABLE"),
    ),
    security(("bearer" = []), ())
)]
pub(super) async fn leave(
    State(room): State<Arc<WaitingRoom>>,
    path: PlacePath,
    Params(params): Params<PlaceParams>,
    headers: HeaderMap,
    Extension(door): Extension<Door>,
    OptionalCaller(caller): OptionalCaller,
) -> ApiResult<StatusCode> {
    let is_admin = caller.map(|caller| door.access.is_admin(&caller)).transpose()?;
    if is_admin == Some(true) {
        let (sale, _) = room.sale(path.show).ok_or_else(|| room.no_sale(path.show))?;
        if let Some(line) = room.opened_line(&sale).await? {
            places::leave(&room, &line, path.ticket, true).await?;
        }
        return Ok(StatusCode::NO_CONTENT);
    }
    // A request without a proof must not begin a line.
    let proof = proof_of(&room, &path, params, &headers, caller.map(|caller| caller.account))?;
    let (sale, line) = sale_and_line(&room, path.show, &proof).await?;
    let found = find(&room, &line, &sale, path.ticket, &proof).await?;
    let may_have_pass = !matches!(found.life, Life::Waiting(_));
    places::leave(&room, &line, path.ticket, may_have_pass).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Finds the place of a request; 404 where it belongs to another account.
pub(crate) async fn find(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    ticket: TicketId,
    proof: &Proof,
) -> ApiResult<FoundPlace> {
    if let Proof::Ticket(place) = proof
        && place.ticket != ticket
    {
        return Err(ApiError::not_found(Code::PlaceNotFound));
    }
    let found = places::find(room, line, sale, ticket, proof).await?;
    found.ok_or_else(|| ApiError::not_found(Code::PlaceNotFound))
}

fn proof_of(
    room: &WaitingRoom,
    path: &PlacePath,
    params: PlaceParams,
    headers: &HeaderMap,
    account: Option<AccountId>,
) -> ApiResult<Proof> {
    let ticket = params.place_ticket.or(header_ticket(headers)?);
    proof(room, path.show, ticket.as_deref(), path.shown.as_ref(), account)
}

fn refusal(why: Unjoinable) -> ApiError {
    match why {
        Unjoinable::Over => ApiError::new(Code::SaleClosed, "the sale has ended"),
        Unjoinable::Rejecting => {
            ApiError::new(Code::RoomClosed, "nobody can join this line at the moment")
        }
        Unjoinable::NotOpen(wait) => {
            ApiError::new(Code::SaleNotOpen, "this line cannot be joined yet; come back later")
                .retry_after(wait)
        }
    }
}

/// The answer, with `Retry-After` while the place waits.
fn answer(status: StatusCode, place: PlaceStatus) -> Response {
    let waits =
        matches!(place.state, PlaceState::Prequeue | PlaceState::Waiting | PlaceState::SoldOut);
    let wait = retry_after(cadence::between_polls(place.ahead.unwrap_or(u64::MAX)));
    let mut response = (status, Json(place)).into_response();
    let headers = response.headers_mut();
    if waits {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// The answer of a show without a waiting room: admitted, and no place is kept.
fn without_a_line(room: &WaitingRoom, show: ShowId, account: AccountId) -> PlaceStatus {
    let place = Place {
        ticket: TicketId::new(),
        account,
        show,
        lane: 0,
        epoch: 0,
        number: 0,
        joined_at: room.now(),
        told: None,
        stretch: None,
    };
    status(room, &place, PlaceState::Admitted)
}

/// A place as its owner sees it.
async fn describe(room: &WaitingRoom, line: &Line, sale: &Sale, found: FoundPlace) -> PlaceStatus {
    let gate = room.gate(sale, line);
    let opening = Opening::of(sale, room.now());
    let place = &found.place;
    let state = match (&found.life, gate) {
        (Life::Ended(ended), _) => *ended,
        (_, Gate::Over) => PlaceState::Closed,
        (_, Gate::Off) => PlaceState::Admitted,
        (Life::Admitted(admission), _) => {
            let Some(expires_at) = admitted::expiry(room, line, admission).await else {
                return status(room, place, PlaceState::Expired);
            };
            let pass = room.passes.sign(line.show, admission, room.now(), expires_at);
            return PlaceStatus {
                pass,
                expires_at: Some(expires_at),
                waiting: line.waiting(),
                ..status(room, place, PlaceState::Admitted)
            };
        }
        (Life::Waiting(spot), _) if spot.is_drawn() && !opening.draw_is_told => {
            PlaceState::Prequeue
        }
        (Life::Waiting(_), Gate::SoldOut) => PlaceState::SoldOut,
        (Life::Waiting(_), _) => PlaceState::Waiting,
    };
    let spot = match &found.life {
        Life::Waiting(spot) if !matches!(gate, Gate::Over | Gate::Off) => spot,
        _ => return PlaceStatus { waiting: line.waiting(), ..status(room, place, state) },
    };
    let standing = line.standing(spot, gate, &sale.room, opening);
    // In the ticket, so that another node tells no larger number.
    let place = Place { told: standing.told.or(place.told), ..place.clone() };
    PlaceStatus {
        ahead: standing.ahead,
        position: standing.ahead.map(|ahead| ahead + 1),
        waiting: standing.waiting,
        eta_seconds: standing.eta,
        ..status(room, &place, state)
    }
}

fn status(room: &WaitingRoom, place: &Place, state: PlaceState) -> PlaceStatus {
    PlaceStatus {
        ticket_id: place.ticket,
        place_ticket: room.place_keys.sign(place),
        state,
        position: None,
        ahead: None,
        waiting: 0,
        eta_seconds: None,
        live_url: format!("{BASE}/shows/{}/queue/{}/live", place.show, place.ticket),
        pass: None,
        expires_at: None,
    }
}
