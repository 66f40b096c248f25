//! What browsers are told beside the answer: whether a page of another origin may read it (CORS), and
//! how carefully to treat it.
//!
//! `tower-http` has a layer for the first. It takes every OPTIONS for a preflight, and each of its
//! clones, one for each connection, copies its lists.

use axum::{
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::origin::Origins;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Every header that the API reads and a browser does not send by itself.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, admission-pass, place-ticket, \
     challenge-solution, prefer, if-none-match, last-event-id, traceparent",
);
/// Headers of answers that a page's script may read; `Date` stands beside each `expiresAt`.
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "date, etag, location, retry-after, ratelimit, ratelimit-policy, www-authenticate, x-request-id",
);
/// Seconds for which a browser keeps the answer to a preflight; Chromium takes no more.
const KEPT_S: HeaderValue = HeaderValue::from_static("7200");
/// No answer is a page but that of `/docs`, which has a policy of its own.
const NO_PAGE: HeaderValue =
    HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'");

/// The answer to a preflight, by which a browser asks whether a page may make a call. `None` for any
/// other request, and for a page of none of these origins.
pub(super) fn preflight<B>(origins: &Origins, request: &Request<B>) -> Option<Response> {
    let asks = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let page = origins.of(request.headers()).filter(|_| asks)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, KEPT_S);
    tell(origins, Some(page.clone()), &mut response);
    Some(response)
}

/// Adds to an answer what a browser must know; `page` is the origin that may read it. What a handler
/// says itself stands.
pub(super) fn tell(origins: &Origins, page: Option<HeaderValue>, response: &mut Response) {
    let headers = response.headers_mut();
    if !origins.is_empty() {
        // Or a cache gives one page the answer that was for another.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(page) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
    let by_default: [(HeaderName, HeaderValue); 4] = [
        // Tokens, orders and tickets are nobody else's. What is for all says so itself.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CONTENT_SECURITY_POLICY, NO_PAGE),
    ];
    for (name, value) in by_default {
        headers.entry(name).or_insert(value);
    }
}
