//! How often one address and one account may join, ask for places and open sockets.

use std::num::NonZeroU32;

use axum::{extract::Query, http::request::Parts};
use contract::{AccountId, api::line::PLACE_TICKET_PROTOCOL, place_ticket::PlaceKeys};
use platform::{
    Shutdown,
    http::limits::{Guard, Limit, Quota, Route, Strangers, by_token, offered},
};

use super::request::{PlaceParams, Shown, header_ticket};

const JOINS: &str = "joins";
const PLACES: &str = "places";
const LINE_SOCKETS: &str = "line-sockets";
const STRANGERS: &str = "line-strangers";

/// Every route, with its limit.
pub const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/api/v1/shows/{id}/queue", limit: JOINS },
    Route { method: "GET", path: "/api/v1/shows/{id}/queue/{ticketId}", limit: PLACES },
    Route { method: "DELETE", path: "/api/v1/shows/{id}/queue/{ticketId}", limit: PLACES },
    Route { method: "GET", path: "/api/v1/shows/{id}/queue/{ticketId}/live", limit: LINE_SOCKETS },
];

/// Starts the limits of the routes. An address gets fifty times its joins for questions about
/// places, and ten times for sockets, which all open again after an outage.
pub(crate) fn guard(
    joins_per_second: NonZeroU32,
    place_keys: PlaceKeys,
    shutdown: &Shutdown,
) -> Guard {
    let joins = joins_per_second.get();
    // A burst of ten seconds' worth.
    let ten = |factor: u32| {
        let rate = joins.saturating_mul(factor);
        Quota::per_second(rate).at_once(rate.saturating_mul(10))
    };
    let limit =
        |name, account, address| Limit { name, account, address, strangers: Strangers::Refused };
    let limits = [
        limit(JOINS, Quota::per_second(2).at_once(20), ten(1)),
        // For all devices of an account; far more than clients need that obey Retry-After.
        limit(PLACES, Quota::per_second(100).at_once(500), ten(50)),
        limit(LINE_SOCKETS, Quota::per_second(10).at_once(200), ten(10)),
    ];
    let identify =
        move |parts: &mut Parts| by_place(parts, &place_keys).or_else(|| by_token(parts));
    Guard::start(ROUTES, &limits, (STRANGERS, ten(1)), identify, shutdown)
}

/// The account of the place ticket in the request; the verified place is kept for the handler.
fn by_place(parts: &mut Parts, keys: &PlaceKeys) -> Option<AccountId> {
    let ticket = match offered(&parts.headers, PLACE_TICKET_PROTOCOL) {
        Some(ticket) => Some(ticket.to_owned()),
        None => header_ticket(&parts.headers).ok().flatten().or_else(|| {
            let Query(params) = Query::<PlaceParams>::try_from_uri(&parts.uri).ok()?;
            params.place_ticket
        }),
    };
    let ticket = ticket?;
    let place = keys.verify(&ticket)?;
    let account = place.account;
    parts.extensions.insert(Shown { ticket, place });
    Some(account)
}
