//! Second factors: setting one up, confirming and removing it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    api::{
        problem::Code,
        second_factors::{
            NewSecondFactor, SecondFactorConfirmation, SecondFactorConfirmed, SecondFactorRemoval,
            SecondFactorSetUp,
        },
    },
    second_factor::TotpSecret,
};
use platform::http::{ApiError, ApiResult, ClientAddr};
use store::second_factors as factors;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Ingress,
    accounts::{owner, owner_with_code, signed_in},
    codes::wrong_code,
    devices::Caller,
    errors::database,
    form::{AccountForm, Form},
};

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default().routes(routes!(set_up, remove)).routes(routes!(confirm))
}

/// Begins to set up a second factor: gives the secret for an authenticator app.
///
/// Nothing changes until a code of the app is confirmed. Calling it again gives another secret.
#[utoipa::path(post, path = "/auth/totp", tag = "accounts", security(("bearer" = [])),
    request_body = SecondFactorSetUp, responses(
        (status = 200, body = NewSecondFactor),
        (status = 401, description = "UNAUTHENTICATED, BAD_CREDENTIALS"),
        (status = 409, description = "SECOND_FACTOR_PRESENT"),
    )
)]
async fn set_up(
    State(ingress): State<Arc<Ingress>>,
    ClientAddr(address): ClientAddr,
    AccountForm(account, asked): AccountForm<SecondFactorSetUp>,
) -> ApiResult<Json<NewSecondFactor>> {
    // The password is checked, since with a stolen access token a thief would lock the owner out.
    let known = owner(&ingress, account, asked.password, address).await?;
    let secret = TotpSecret::generate();
    let sealed = ingress.codes.seal(account, &secret);
    if !factors::prepare(&ingress.pool, account, &sealed).await.map_err(database)? {
        let detail = "this account has a second factor; remove it before you set up another";
        return Err(ApiError::new(Code::SecondFactorPresent, detail));
    }
    Ok(Json(NewSecondFactor { secret: secret.text(), uri: secret.uri(&known.user.email) }))
}

/// Confirms the second factor with a first code of the app: from now on a sign-in needs one.
///
/// Gives the recovery codes, and a new session: every other session and token of the account ends.
#[utoipa::path(post, path = "/auth/totp/confirm", tag = "accounts", security(("bearer" = [])),
    request_body = SecondFactorConfirmation, responses(
        (status = 200, body = SecondFactorConfirmed),
        (status = 401, description = "UNAUTHENTICATED, SECOND_FACTOR_WRONG"),
        (status = 409, description = "SECOND_FACTOR_MISSING"),
    )
)]
async fn confirm(
    State(ingress): State<Arc<Ingress>>,
    caller: Caller,
    AccountForm(account, asked): AccountForm<SecondFactorConfirmation>,
) -> ApiResult<Json<SecondFactorConfirmed>> {
    let found = factors::find(&ingress.pool, account).await.map_err(database)?;
    let pending = found.filter(|factor| !factor.is_confirmed).ok_or_else(missing)?;
    let step = ingress.codes.first_step(account, &pending, &asked.code)?.ok_or_else(wrong_code)?;
    let (recovery_codes, macs) = ingress.codes.for_recovery(account);
    let (proof, start) = ((pending.sealed_secret.as_slice(), step), caller.start(&ingress));
    let session = factors::confirm(&ingress.pool, account, proof, &macs, &start);
    let session = session.await.map_err(database)?.ok_or_else(missing)?;
    Ok(Json(SecondFactorConfirmed { recovery_codes, signed_in: signed_in(&ingress, session) }))
}

/// Removes the second factor and its recovery codes.
#[utoipa::path(delete, path = "/auth/totp", tag = "accounts", security(("bearer" = [])),
    request_body = SecondFactorRemoval, responses(
        (status = 204),
        (status = 401, description = "UNAUTHENTICATED, BAD_CREDENTIALS, SECOND_FACTOR_WRONG"),
        (status = 409, description = "SECOND_FACTOR_MISSING"),
    )
)]
async fn remove(
    State(ingress): State<Arc<Ingress>>,
    ClientAddr(address): ClientAddr,
    AccountForm(account, asked): AccountForm<SecondFactorRemoval>,
) -> ApiResult<StatusCode> {
    if !factors::is_confirmed(&ingress.pool, account).await.map_err(database)? {
        return Err(missing());
    }
    owner_with_code(&ingress, account, (asked.password, Some(asked.code)), address).await?;
    factors::remove(&ingress.pool, account).await.map_err(database)?;
    Ok(StatusCode::NO_CONTENT)
}

fn missing() -> ApiError {
    let detail = "there is no second factor to confirm or remove; begin with POST /auth/totp";
    ApiError::new(Code::SecondFactorMissing, detail)
}

/// A body whose type says all there is to check.
macro_rules! plain_forms {
    ($($body:ident),+) => {$(
        impl Form for $body {
            type Body = Self;

            fn check(body: Self) -> ApiResult<Self> {
                Ok(body)
            }
        }
    )+};
}

plain_forms!(SecondFactorSetUp, SecondFactorConfirmation, SecondFactorRemoval);
