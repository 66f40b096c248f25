//! The description of this service's API, from the code.

use contract::api::BASE;
use platform::http::limits::describe;
use utoipa::{OpenApi as _, openapi::OpenApi};

use crate::{ROUTES, accounts, admin, bookings, catalogue, jwks, sessions, sign_ups};

#[derive(utoipa::OpenApi)]
#[openapi(paths(jwks::jwks))]
struct Root;

/// What this service answers.
#[must_use]
pub(crate) fn openapi() -> OpenApi {
    let mut api = accounts::Docs::openapi();
    api.merge(sign_ups::Docs::openapi());
    api.merge(sessions::Docs::openapi());
    api.merge(catalogue::Docs::openapi());
    api.merge(admin::Docs::openapi());
    let mut document = Root::openapi().nest(BASE, api);
    // Its paths are written out in full.
    document.merge(bookings::Document::openapi());
    describe(&mut document, ROUTES);
    document
}
