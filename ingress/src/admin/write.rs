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
use store::catalogue::Retirement;

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

/// The answer of taking something off the lists.
pub(super) fn retired(retirement: Retirement, not_found: Code) -> ApiResult<StatusCode> {
    match retirement {
        Retirement::Done => Ok(StatusCode::NO_CONTENT),
        Retirement::NotFound => Err(ApiError::not_found(not_found)),
        Retirement::InUse { shows, first } => {
            let detail = format!(
                "shows to come need it, {shows} in all, the first of them {first}: move them or \
                 take them off the lists first"
            );
            let error = ApiError::new(Code::StillInUse, detail);
            Err(error.with("shows", shows).with("first", first.to_string()))
        }
    }
}

/// 201 with the new thing and where it is.
pub(super) type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

pub(super) fn created<T>(path: &str, id: impl std::fmt::Display, thing: T) -> Created<T> {
    let location = [(header::LOCATION, format!("{BASE}/{path}/{id}"))];
    (StatusCode::CREATED, location, Json(thing))
}
