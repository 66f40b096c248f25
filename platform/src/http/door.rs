//! The door of a service: who may call it, from where.

use std::sync::Arc;

use axum::Extension;
use utoipa_axum::router::OpenApiRouter;

use super::access::Access;
use crate::{config::Http, proxy::TrustedProxy};

/// What the extractors need; put it into the router as an extension with [`with_door`].
#[derive(Clone)]
pub struct Door {
    pub access: Access,
    pub trusted_proxies: Arc<[TrustedProxy]>,
    pub allowed_origins: Arc<[String]>,
}

impl Door {
    /// The door of a service with these settings.
    #[must_use]
    pub fn new(access: Access, http: &Http) -> Self {
        Self {
            access,
            trusted_proxies: http.trusted_proxies.clone().into(),
            allowed_origins: http.allowed_origins.clone().into(),
        }
    }
}

/// Lets every handler of the router know who is calling.
pub fn with_door(router: OpenApiRouter, door: Door) -> OpenApiRouter {
    router.layer(Extension(door))
}
