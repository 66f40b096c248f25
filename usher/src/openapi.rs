//! One description of the whole API, from those of the services.

use utoipa::openapi::OpenApi;

/// Every service's paths and schemas in one document.
#[must_use]
pub fn whole() -> OpenApi {
    let mut document = ingress::openapi();
    document.merge(waiting_room::openapi());
    document.merge(notifier::openapi());
    document
}
