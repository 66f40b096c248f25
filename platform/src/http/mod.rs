//! HTTP as every service speaks it: one way to serve, one shape of error, one way to read bodies.

mod serve;
mod ready;
mod problem;
mod refusals;
mod hint;
mod extract;
mod deadline;
mod address;
mod origin;
pub mod limits;
pub mod socket;

pub use address::Proxy;
pub use extract::{
    ADMIN_BODY_BYTES_MAX, AdminCaller, Body, ClientAddr, OptionalBody, OptionalCaller, Params,
    PathId, SignedIn,
};
pub use hint::{reconnect_after, retry_after};
pub use origin::origin_is_allowed;
pub use problem::{ApiError, ApiResult};
pub use serve::{Connection, HEADERS_WAIT, serve, serve_admin};

use crate::access::Access;

/// What the extractors need; put it into the router as an extension with [`with_door`].
#[derive(Clone)]
pub struct Door {
    pub access: Access,
    pub trusted_proxies: std::sync::Arc<[Proxy]>,
    pub allowed_origins: std::sync::Arc<[String]>,
}

impl Door {
    /// The door of a service with these settings.
    #[must_use]
    pub fn new(access: Access, http: &crate::config::Http) -> Self {
        Self {
            access,
            trusted_proxies: http.trusted_proxies.clone().into(),
            allowed_origins: http.allowed_origins.clone().into(),
        }
    }
}

/// Gives every handler of the router the means to know who is calling.
pub fn with_door(router: axum::Router, door: Door) -> axum::Router {
    router.layer(axum::Extension(door))
}
