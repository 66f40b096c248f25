//! Which web pages may open a socket here.

use axum::http::{HeaderMap, header};

use super::Door;

/// Whether a WebSocket upgrade is allowed: it comes from no browser, from a page of this host, or
/// from an origin on the list.
#[must_use]
pub fn origin_is_allowed(headers: &HeaderMap, door: &Door) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    if door.allowed_origins.of(headers).is_some() {
        return true;
    }
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let page = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    host.is_some() && page == host
}
