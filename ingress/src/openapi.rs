//! The description of the API, from the code.

use contract::api::BASE;
use utoipa::{
    Modify, OpenApi as _,
    openapi::{
        OpenApi,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{accounts, admin, bookings, catalogue};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Usher",
        description = "Sells seats when everybody comes at once: a fair line, and every booking \
            decided exactly once. Errors are RFC 9457 problems with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(crate::jwks),
    modifiers(&Bearer),
)]
struct Root;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// What this service answers.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut api = accounts::Docs::openapi();
    api.merge(catalogue::Docs::openapi());
    api.merge(admin::Docs::openapi());
    let mut document = Root::openapi().nest(BASE, api);
    // Its paths are written out in full.
    document.merge(bookings::Document::openapi());
    document
}
