//! The limit of each route of this service.

use std::num::NonZeroU32;

use axum::http::request::Parts;
use clap::Args;
use contract::AccountId;
use platform::{
    Shutdown,
    http::limits::{Guard, Limit, Quota, Route, Strangers},
};

/// Limits of this service.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Failed sign-ins per minute from one address; ten times as many sign-ups, and two hundred
    /// times as many calls to sign in or refresh
    #[arg(long, env = "USHER_LIMIT_AUTH_PER_MINUTE", default_value = "30")]
    pub auth_per_minute: NonZeroU32,
    /// Reads per second of one account; five times as many from one address without an account, and
    /// twenty times as many of all accounts behind one address
    #[arg(long, env = "USHER_LIMIT_READS_PER_SECOND", default_value = "100")]
    pub reads_per_second: NonZeroU32,
    /// Bookings and holds per second of one account, and as many changes of orders, with a burst of
    /// three seconds' worth; a hundred times as many of all accounts behind one address
    #[arg(long, env = "USHER_LIMIT_BOOKINGS_PER_SECOND", default_value = "20")]
    pub bookings_per_second: NonZeroU32,
}

const READS: &str = "reads";
const OWN_READS: &str = "own-reads";
const BOOKINGS: &str = "bookings";
const RELEASES: &str = "releases";
const ORDERS: &str = "orders";
const ACCOUNT_CHANGES: &str = "account-changes";
const SIGN_UPS: &str = "sign-ups";
const SIGN_INS: &str = "sign-ins";
const SESSIONS: &str = "sessions";
const PASSWORD_LINKS: &str = "password-links";
const ADMINISTRATION: &str = "administration";
/// Calls that need an account and come without one.
const STRANGERS: &str = "strangers";

const fn route(method: &'static str, path: &'static str, limit: &'static str) -> Route {
    Route { method, path, limit }
}

/// Every route, with its limit.
pub const ROUTES: &[Route] = &[
    route("GET", "/openapi.json", READS),
    route("GET", "/docs", READS),
    route("GET", "/.well-known/jwks.json", READS),
    route("POST", "/api/v1/auth/signup", SIGN_UPS),
    route("POST", "/api/v1/auth/login", SIGN_INS),
    route("POST", "/api/v1/auth/refresh", SESSIONS),
    route("POST", "/api/v1/auth/logout", SESSIONS),
    route("POST", "/api/v1/auth/logout-everywhere", ACCOUNT_CHANGES),
    route("PUT", "/api/v1/auth/password", ACCOUNT_CHANGES),
    route("POST", "/api/v1/auth/password-reset", PASSWORD_LINKS),
    route("GET", "/api/v1/auth/sessions", OWN_READS),
    route("DELETE", "/api/v1/auth/sessions/{id}", ACCOUNT_CHANGES),
    route("POST", "/api/v1/auth/totp", ACCOUNT_CHANGES),
    route("DELETE", "/api/v1/auth/totp", ACCOUNT_CHANGES),
    route("POST", "/api/v1/auth/totp/confirm", ACCOUNT_CHANGES),
    route("GET", "/api/v1/auth/api-keys", OWN_READS),
    route("POST", "/api/v1/auth/api-keys", ACCOUNT_CHANGES),
    route("DELETE", "/api/v1/auth/api-keys/{id}", ACCOUNT_CHANGES),
    route("POST", "/api/v1/auth/api-keys/{id}/rotate", ACCOUNT_CHANGES),
    route("POST", "/api/v1/auth/password-reset/send", PASSWORD_LINKS),
    route("POST", "/api/v1/auth/verify", PASSWORD_LINKS),
    route("POST", "/api/v1/auth/verify/send", ACCOUNT_CHANGES),
    route("GET", "/api/v1/auth/profile", OWN_READS),
    route("PUT", "/api/v1/auth/profile", ACCOUNT_CHANGES),
    route("GET", "/api/v1/auth/memberships", OWN_READS),
    route("GET", "/api/v1/auth/bookings", OWN_READS),
    route("GET", "/api/v1/movies", READS),
    route("POST", "/api/v1/movies", ADMINISTRATION),
    route("GET", "/api/v1/movies/{id}", READS),
    route("PUT", "/api/v1/movies/{id}", ADMINISTRATION),
    route("DELETE", "/api/v1/movies/{id}", ADMINISTRATION),
    route("GET", "/api/v1/movies/{id}/availability", READS),
    route("GET", "/api/v1/movies/{id}/shows", READS),
    route("GET", "/api/v1/theatres", READS),
    route("POST", "/api/v1/theatres", ADMINISTRATION),
    route("GET", "/api/v1/theatres/{id}", READS),
    route("PUT", "/api/v1/theatres/{id}", ADMINISTRATION),
    route("DELETE", "/api/v1/theatres/{id}", ADMINISTRATION),
    route("GET", "/api/v1/theatres/{id}/staff", ADMINISTRATION),
    route("POST", "/api/v1/theatres/{id}/staff", ADMINISTRATION),
    route("DELETE", "/api/v1/theatres/{id}/staff/{accountId}", ADMINISTRATION),
    route("GET", "/api/v1/audit-log", ADMINISTRATION),
    route("POST", "/api/v1/screens", ADMINISTRATION),
    route("GET", "/api/v1/screens/{id}", READS),
    route("PUT", "/api/v1/screens/{id}", ADMINISTRATION),
    route("DELETE", "/api/v1/screens/{id}", ADMINISTRATION),
    route("POST", "/api/v1/shows", ADMINISTRATION),
    route("POST", "/api/v1/shows/bulk", ADMINISTRATION),
    route("GET", "/api/v1/shows/upcoming", READS),
    route("GET", "/api/v1/shows/{id}", READS),
    route("PUT", "/api/v1/shows/{id}", ADMINISTRATION),
    route("DELETE", "/api/v1/shows/{id}", ADMINISTRATION),
    route("GET", "/api/v1/shows/{id}/seatmap", READS),
    route("POST", "/api/v1/shows/{id}/open", ADMINISTRATION),
    route("POST", "/api/v1/shows/{id}/close", ADMINISTRATION),
    route("PATCH", "/api/v1/shows/{id}/waiting-room", ADMINISTRATION),
    route("POST", "/api/v1/bookings", BOOKINGS),
    route("GET", "/api/v1/bookings/{id}", OWN_READS),
    route("GET", "/api/v1/bookings/reference/{reference}", OWN_READS),
    route("POST", "/api/v1/holds", BOOKINGS),
    route("GET", "/api/v1/holds/{id}", OWN_READS),
    route("DELETE", "/api/v1/holds/{id}", RELEASES),
    route("POST", "/api/v1/orders", ORDERS),
    route("GET", "/api/v1/orders/{id}", OWN_READS),
    route("POST", "/api/v1/orders/{id}/confirm-payment", ORDERS),
    route("POST", "/api/v1/orders/{id}/cancel", ORDERS),
    route("GET", "/api/v1/orders/{id}/ticket", OWN_READS),
];

/// Starts the limits of the routes. `identify` says whose a request is.
pub(crate) fn guard(
    settings: &LimitSettings,
    shutdown: &Shutdown,
    identify: impl Fn(&mut Parts) -> Option<AccountId> + Send + Sync + 'static,
) -> Guard {
    let reads = settings.reads_per_second.get();
    let strangers = Quota::per_second(reads).at_once(times(reads, 10));
    Guard::start(ROUTES, &limits(settings), (STRANGERS, strangers), identify, shutdown)
}

/// Every limit. An address gets as much as many busy accounts, because a mobile carrier has
/// thousands of customers behind one address.
fn limits(settings: &LimitSettings) -> Vec<Limit> {
    let reads = settings.reads_per_second.get();
    let bookings = settings.bookings_per_second.get();
    let auth = settings.auth_per_minute.get();
    // A burst of five or of three seconds' worth.
    let five = |rate: u32| Quota::per_second(rate).at_once(times(rate, 5));
    let three = |rate: u32| Quota::per_second(rate).at_once(times(rate, 3));
    let all_reads = five(times(reads, 20));
    let own =
        |name, account, address| Limit { name, account, address, strangers: Strangers::Refused };
    // These calls need no account; a call with one has the same limit.
    let open = |name, quota| {
        let strangers = Strangers::Served(quota);
        Limit { name, account: quota, address: quota, strangers }
    };
    let booking = |name| own(name, three(bookings), three(times(bookings, 100)));
    vec![
        Limit {
            name: READS,
            account: five(reads),
            address: all_reads,
            strangers: Strangers::Served(five(times(reads, 5))),
        },
        own(OWN_READS, five(reads.div_ceil(2)), all_reads),
        booking(BOOKINGS),
        booking(RELEASES),
        booking(ORDERS),
        own(
            ACCOUNT_CHANGES,
            Quota::per_second(bookings.div_ceil(10)).at_once(times(bookings, 3)),
            three(times(bookings, 10)),
        ),
        own(
            ADMINISTRATION,
            Quota::per_second(reads.div_ceil(2)).at_once(times(reads, 10)),
            all_reads,
        ),
        open(SIGN_UPS, Quota::per_minute(times(auth, 10))),
        // Wrong passwords have limits of their own (`sign_ins.rs`). A carrier's customers all sign
        // in when a sale opens, and refresh every quarter of an hour.
        open(SIGN_INS, Quota::per_minute(times(auth, 200))),
        open(SESSIONS, Quota::per_minute(times(auth, 200))),
        open(PASSWORD_LINKS, Quota::per_minute(auth)),
    ]
}

fn times(rate: u32, factor: u32) -> u32 {
    rate.saturating_mul(factor)
}
