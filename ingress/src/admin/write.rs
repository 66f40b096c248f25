//! The caller, the body and the answer of every write of an admin.

use std::sync::Arc;

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderName, StatusCode, header, request::Parts},
};
use contract::{
    AccountId,
    api::{BASE, problem::Code},
};
use platform::http::{ADMIN_BODY_BYTES_MAX, AdminCaller, ApiError, ApiResult, Body};
use store::second_factors;

use crate::{Ingress, errors::database};

/// The caller, who must be an admin, with a second factor where the installation asks for one:
/// confirming one ends every session that began without it. Checked before the body is read, which may be large.
pub(super) struct Admin(pub(super) AccountId);

impl FromRequestParts<Arc<Ingress>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        ingress: &Arc<Ingress>,
    ) -> Result<Self, ApiError> {
        let AdminCaller(caller) = AdminCaller::from_request_parts(parts, ingress).await?;
        if ingress.admins_need_second_factor {
            let asked = second_factors::is_confirmed(&ingress.pool, caller.account).await;
            if !asked.map_err(database)? {
                let detail = "administrators need a second factor; begin with POST /auth/totp";
                return Err(ApiError::new(Code::SecondFactorNeeded, detail));
            }
        }
        Ok(Self(caller.account))
    }
}

/// The body of an admin's write.
pub(super) type AdminBody<T> = Body<T, ADMIN_BODY_BYTES_MAX>;

/// 204 where there was something to take off the lists, else 404.
pub(super) fn retired(was_there: bool, not_found: Code) -> ApiResult<StatusCode> {
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found(not_found)) }
}

/// 201 with the new thing and where it is.
pub(super) type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

pub(super) fn created<T>(path: &str, id: impl std::fmt::Display, thing: T) -> Created<T> {
    let location = [(header::LOCATION, format!("{BASE}/{path}/{id}"))];
    (StatusCode::CREATED, location, Json(thing))
}
