//! How often an account may open sockets, and how many.

use platform::{
    Shutdown,
    http::limits::{Guard, Limit, Quota, Route, Strangers, by_token},
};

/// Sockets one account may have open on a node for bookings, and as many for seats; the next
/// closes the oldest.
pub(crate) const SOCKETS_PER_ACCOUNT_MAX: u32 = 10;

const SOCKETS: &str = "sockets";
const STRANGERS: &str = "socket-strangers";

/// Every route, with its limit.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/api/v1/bookings/{id}/live", limit: SOCKETS },
    Route { method: "GET", path: "/api/v1/live", limit: SOCKETS },
    Route { method: "GET", path: "/api/v1/shows/{id}/seats/live", limit: SOCKETS },
];

/// Starts the limits of the routes. They let everybody behind one address connect again after an
/// outage.
pub(crate) fn guard(shutdown: &Shutdown) -> Guard {
    let limit = Limit {
        name: SOCKETS,
        account: Quota::per_second(10).at_once(200),
        address: Quota::per_second(2_000).at_once(20_000),
        strangers: Strangers::Refused,
    };
    let strangers = Quota::per_second(100).at_once(1_000);
    Guard::start(ROUTES, &[limit], (STRANGERS, strangers), by_token, shutdown)
}
