//! The public keys that passes are checked with.

use std::sync::Arc;

use axum::{Json, extract::State};
use contract::pass::Jwks;

use crate::Ingress;

/// The keys that passes are signed with.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "keys", operation_id = "jwks",
    responses((status = 200, body = Jwks)))]
pub(super) async fn read(State(ingress): State<Arc<Ingress>>) -> Json<Jwks> {
    Json(ingress.pass_keys.borrow().verify.jwks())
}
