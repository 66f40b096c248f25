//! How often one address and one account may ask for a place, and after it.

use std::{num::NonZeroU32, sync::Arc};

use axum::{extract::Query, http::request::Parts};
use contract::{AccountId, api::line::PLACE_TICKET_PROTOCOL, place_ticket::PlaceKeys};
use platform::{
    Shutdown,
    http::{
        ApiError,
        limits::{Guard, Limit, Limiter, Quota, Route, Strangers, by_token, offered},
    },
};

use crate::{
    LineError,
    places::Proof,
    routes::{PlaceParams, Shown, header_ticket},
};

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

/// An account that asks for places by their id alone may ask so often, with a burst of fifty.
const GUESSES_PER_SECOND: u32 = 10;
const GUESSES_AT_ONCE: u32 = 50;
/// Asked for places that this node cannot know, by accounts that prove none, it asks the database
/// so often in all.
const QUESTIONS_PER_SECOND: u32 = 50;

/// Starts the limits of the routes. All accounts behind one address may look after many more
/// places than may be asked for in a second, and open their sockets again after an outage.
pub(crate) fn guard(
    joins_per_second: NonZeroU32,
    place_keys: PlaceKeys,
    shutdown: &Shutdown,
) -> Guard {
    let joins = joins_per_second.get();
    // With ten seconds' worth at once.
    let ten = |factor: u32| {
        let rate = joins.saturating_mul(factor);
        Quota::per_second(rate).at_once(rate.saturating_mul(10))
    };
    let limit =
        |name, account, address| Limit { name, account, address, strangers: Strangers::Refused };
    let limits = [
        limit(JOINS, Quota::per_second(2).at_once(20), ten(1)),
        // Over all devices of the account: far more than clients need that ask when they are told.
        limit(PLACES, Quota::per_second(100).at_once(500), ten(50)),
        limit(LINE_SOCKETS, Quota::per_second(10).at_once(200), ten(10)),
    ];
    let identify =
        move |parts: &mut Parts| by_place(parts, &place_keys).or_else(|| by_token(parts));
    Guard::start(ROUTES, &limits, (STRANGERS, ten(1)), identify, shutdown)
}

/// The account whose place ticket comes with the request. What it says is remembered for the handler.
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

/// The limits on asking for what may not be there, of this node.
pub(crate) struct Limits {
    guesses: Arc<Limiter<AccountId>>,
    questions: Arc<Limiter<()>>,
}

impl Limits {
    pub(crate) fn start(shutdown: &Shutdown) -> Self {
        let guesses = Quota::per_second(GUESSES_PER_SECOND).at_once(GUESSES_AT_ONCE);
        let questions = Quota::per_second(QUESTIONS_PER_SECOND);
        Self {
            guesses: Limiter::start("place-guesses", "account", guesses, shutdown),
            questions: Limiter::start("place-questions", "node", questions, shutdown),
        }
    }

    /// Whether somebody may ask about a place now; 429 where not.
    pub(crate) fn look(&self, proof: &Proof) -> Result<(), ApiError> {
        match proof {
            Proof::Ticket(_) => Ok(()),
            Proof::Account(account) => self.guesses.take(account),
        }
    }

    /// Whether the database may be asked on behalf of somebody who proves no place.
    pub(crate) fn question(&self) -> Result<(), LineError> {
        self.questions.take(&()).map_err(|_| {
            metrics::counter!("usher_line_questions_refused_total").increment(1);
            LineError::TooManyAsk
        })
    }
}
