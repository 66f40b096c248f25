//! The scope that an API key needs, for each call that keys may make. A call that needs an account
//! and is not listed refuses every key: sessions, passwords, the profile, and the keys themselves.

use axum::http::Method;
use contract::api::api_keys::Scope;

use Scope::{BookingsRead, BookingsWrite, CatalogueWrite, SalesWrite};

/// Every call that keys may make.
const SCOPES: &[(&str, &str, Scope)] = &[
    ("POST", "/api/v1/movies", CatalogueWrite),
    ("PUT", "/api/v1/movies/{id}", CatalogueWrite),
    ("DELETE", "/api/v1/movies/{id}", CatalogueWrite),
    ("POST", "/api/v1/theatres", CatalogueWrite),
    ("PUT", "/api/v1/theatres/{id}", CatalogueWrite),
    ("DELETE", "/api/v1/theatres/{id}", CatalogueWrite),
    ("POST", "/api/v1/screens", CatalogueWrite),
    ("PUT", "/api/v1/screens/{id}", CatalogueWrite),
    ("DELETE", "/api/v1/screens/{id}", CatalogueWrite),
    ("POST", "/api/v1/shows", CatalogueWrite),
    ("POST", "/api/v1/shows/bulk", CatalogueWrite),
    ("PUT", "/api/v1/shows/{id}", CatalogueWrite),
    ("DELETE", "/api/v1/shows/{id}", CatalogueWrite),
    ("POST", "/api/v1/shows/{id}/open", SalesWrite),
    ("POST", "/api/v1/shows/{id}/close", SalesWrite),
    ("PATCH", "/api/v1/shows/{id}/waiting-room", SalesWrite),
    ("GET", "/api/v1/auth/bookings", BookingsRead),
    ("GET", "/api/v1/bookings/{id}", BookingsRead),
    ("GET", "/api/v1/bookings/reference/{reference}", BookingsRead),
    ("GET", "/api/v1/holds/{id}", BookingsRead),
    ("GET", "/api/v1/orders/{id}", BookingsRead),
    ("GET", "/api/v1/orders/{id}/ticket", BookingsRead),
    ("POST", "/api/v1/bookings", BookingsWrite),
    ("POST", "/api/v1/holds", BookingsWrite),
    ("DELETE", "/api/v1/holds/{id}", BookingsWrite),
    ("POST", "/api/v1/orders", BookingsWrite),
    ("POST", "/api/v1/orders/{id}/confirm-payment", BookingsWrite),
    ("POST", "/api/v1/orders/{id}/cancel", BookingsWrite),
];

/// The scope of a call; `None` where no key may make it.
pub(crate) fn of(method: &Method, path: &str) -> Option<Scope> {
    // The route for GET also answers HEAD.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let listed = SCOPES.iter().find(|(known, at, _)| *known == method.as_str() && *at == path);
    listed.map(|(_, _, scope)| *scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ROUTES;

    #[test]
    fn a_scope_is_of_a_route_and_none_is_of_a_sign_in() {
        for (method, path, scope) in SCOPES {
            let known = ROUTES.iter().any(|route| (route.method, route.path) == (*method, *path));
            assert!(known, "{method} {path} is no route");
            assert_eq!(of(&method.parse().unwrap(), path), Some(*scope));
            assert!(!path.starts_with("/api/v1/auth/") || *method == "GET", "{method} {path}");
        }
        assert_eq!(of(&Method::HEAD, "/api/v1/orders/{id}"), Some(BookingsRead));
        assert_eq!(of(&Method::POST, "/api/v1/auth/api-keys"), None);
    }
}
