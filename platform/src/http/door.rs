//! The door of a service: who may call it, from where.

use std::sync::Arc;

use super::access::Access;
use crate::{config::Http, origin::Origins, proxy::TrustedProxy};

/// What the extractors need; [`Guard::before`](super::limits::Guard::before) gives it to each request.
#[derive(Clone)]
pub struct Door {
    pub access: Access,
    pub trusted_proxies: Arc<[TrustedProxy]>,
    pub allowed_origins: Origins,
}

impl Door {
    /// The door of a service with these settings.
    #[must_use]
    pub fn new(access: Access, http: &Http) -> Self {
        Self {
            access,
            trusted_proxies: http.trusted_proxies.clone().into(),
            allowed_origins: http.allowed_origins.clone(),
        }
    }
}
