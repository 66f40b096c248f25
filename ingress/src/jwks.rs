//! The public keys that passes are checked with.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, header},
};
use contract::pass::Jwks;

use crate::Ingress;

/// The keys that passes are signed with.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "keys", operation_id = "jwks",
    responses((status = 200, body = Jwks)))]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
) -> ([(HeaderName, &'static str); 1], Json<Jwks>) {
    // Asked for anew each time: after a rotation the new key is needed.
    let keys = ingress.pass_keys.borrow().verify.jwks();
    ([(header::CACHE_CONTROL, "no-cache")], Json(keys))
}
