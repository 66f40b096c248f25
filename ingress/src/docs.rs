//! The description of the API, for programs and for people.

use anyhow::Context as _;
use axum::{Router, http::header, response::Html, routing::get};
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use crate::openapi;

const PAGE: &str = include_str!("docs.html");
/// The page's own script and style, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/openapi.json` and `/docs`.
pub(crate) fn router(document: OpenApi) -> anyhow::Result<Router> {
    let json: Bytes =
        openapi::completed(document).to_json().context("the API cannot be described")?.into();
    let described = move || async move { ([(header::CONTENT_TYPE, "application/json")], json) };
    let page = || async { ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)) };
    Ok(Router::new().route("/openapi.json", get(described)).route("/docs", get(page)))
}
