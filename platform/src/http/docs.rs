//! The description of the API, for programs and for people.

use axum::{
    Extension, Router,
    body::Bytes,
    http::header,
    response::{Html, IntoResponse},
    routing::get,
};
use utoipa::openapi::OpenApi;

use super::openapi;

const PAGE: &str = include_str!("docs.html");
/// Allows the page's own script and style, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The API of the whole process, as JSON.
#[derive(Clone)]
pub(super) struct Description(Bytes);

impl Description {
    pub(super) fn of(api: OpenApi) -> Self {
        let json = openapi::completed(api).to_json();
        Self(json.expect("names are strings, and numbers finite").into())
    }
}

/// The routes `/openapi.json` and `/docs`, which describe the whole process. One service adds them
/// to its routes and limits how often they may be read.
pub fn docs() -> Router {
    let says = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")];
    let page = move || async move { (says, Html(PAGE)) };
    Router::new().route("/openapi.json", get(described)).route("/docs", get(page))
}

async fn described(Extension(Description(json)): Extension<Description>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], json)
}
