//! The caller, the body and the answer of every write of an admin.

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

/// The caller, who must be an admin. Checked before the body is read, which may be large.
pub(super) struct Admin(pub(super) AccountId);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AdminCaller(caller) = AdminCaller::from_request_parts(parts, state).await?;
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
