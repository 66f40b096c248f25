//! The public keys that passes are checked with.

use axum::Json;
use contract::pass::Jwks;

use crate::state::State;

/// The keys that passes are signed with
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "keys", responses(
    (status = 200, body = Jwks),
))]
pub(crate) async fn jwks(state: State) -> Json<Jwks> {
    Json(state.pass_keys.borrow().verify.jwks())
}
