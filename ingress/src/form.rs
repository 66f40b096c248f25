//! Bodies of signed-in callers. Clients rely on the order of the checks: form, then account.

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use contract::AccountId;
use platform::http::{ApiError, ApiResult, Body, SignedIn};
use serde::de::DeserializeOwned;

/// What a body means, once it has been checked.
pub(crate) trait Form: Sized {
    /// The body as JSON has it.
    type Body: DeserializeOwned;

    /// Checks what the type of the body does not.
    fn check(body: Self::Body) -> ApiResult<Self>;
}

/// A form and the account that sent it. A wrong form is refused before an unknown caller.
pub(crate) struct AccountForm<T>(pub(crate) AccountId, pub(crate) T);

impl<T: Form, S: Send + Sync> FromRequest<S> for AccountForm<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = SignedIn::from_request_parts(&mut parts, state).await;
        let Body(body) =
            Body::<T::Body>::from_request(Request::from_parts(parts, body), state).await?;
        let form = T::check(body)?;
        Ok(Self(caller?.0.account, form))
    }
}
