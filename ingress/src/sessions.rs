//! Sign-in sessions: refreshing and ending them, and changing or resetting the password.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    api::{
        accounts::{PasswordChange, PasswordReset, Refresh, SignInAnswer},
        problem::Code,
    },
    mail::{MailKind, TOKEN_CHARS},
};
use platform::http::{self, ApiError, ApiResult, Body};
use store::{
    accounts, password_links,
    sessions::{self, Refreshed},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Ingress,
    accounts::{owner, signed_in, wrong_password},
    check,
    devices::Caller,
    errors::database,
    form::{AccountForm, Form},
};

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default()
        .routes(routes!(refresh))
        .routes(routes!(log_out))
        .routes(routes!(log_out_everywhere))
        .routes(routes!(change_password))
        .routes(routes!(reset_password))
}

/// Continues a session: gives a new access token, and the next refresh token.
///
/// A refresh token is good once, and for ten seconds more in case that the answer was lost. Later
/// than that somebody else has used it: the session ends.
#[utoipa::path(post, path = "/auth/refresh", tag = "accounts", request_body = Refresh, responses(
    (status = 200, body = SignInAnswer),
    (status = 401, description = "SESSION_ENDED"),
))]
async fn refresh(
    State(ingress): State<Arc<Ingress>>,
    caller: Caller,
    Body(asked): Body<Refresh>,
) -> ApiResult<Json<SignInAnswer>> {
    let turn = ingress.refresh.read(&asked.refresh_token).ok_or_else(ended)?;
    match sessions::refresh(&ingress.pool, turn, &caller.device).await.map_err(database)? {
        Refreshed::Next(session) => {
            ingress.sign_ins.is_at_home(&session.account.user.email, caller.address).await;
            Ok(Json(signed_in(&ingress, *session)))
        }
        Refreshed::Over => Err(ended()),
        Refreshed::Reused => {
            metrics::counter!("usher_sessions_reused_total").increment(1);
            Err(ended())
        }
    }
}

/// Ends a session.
///
/// Its refresh token is good no more; its access token is until it expires.
#[utoipa::path(post, path = "/auth/logout", tag = "accounts", request_body = Refresh, responses(
    (status = 204, description = "it has ended, now or before"),
    (status = 401, description = "SESSION_ENDED"),
))]
async fn log_out(
    State(ingress): State<Arc<Ingress>>,
    Body(asked): Body<Refresh>,
) -> ApiResult<StatusCode> {
    let turn = ingress.refresh.read(&asked.refresh_token).ok_or_else(ended)?;
    sessions::end(&ingress.pool, turn.session).await.map_err(database)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every session and token of the caller, within two seconds on every node.
#[utoipa::path(post, path = "/auth/logout-everywhere", tag = "accounts",
    security(("bearer" = [])), responses(
        (status = 204),
    )
)]
async fn log_out_everywhere(
    State(ingress): State<Arc<Ingress>>,
    http::SignedIn(caller): http::SignedIn,
) -> ApiResult<StatusCode> {
    accounts::end_tokens(&ingress.pool, caller.account).await.map_err(database)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the password: every other session and token and every API key ends, and a new session
/// begins.
#[utoipa::path(put, path = "/auth/password", tag = "accounts", security(("bearer" = [])),
    request_body = PasswordChange, responses(
        (status = 200, body = SignInAnswer),
        (status = 401, description = "UNAUTHENTICATED, BAD_CREDENTIALS"),
    )
)]
async fn change_password(
    State(ingress): State<Arc<Ingress>>,
    caller: Caller,
    AccountForm(account, change): AccountForm<PasswordChange>,
) -> ApiResult<Json<SignInAnswer>> {
    let known = owner(&ingress, account, change.password, caller.address).await?;
    let hash = ingress.passwords.hash(change.new_password).await?;
    let (start, mail) = (caller.start(&ingress), ingress.mail(MailKind::PasswordChanged));
    let changed = sessions::change_password(&ingress.pool, &known, &hash, &start, mail.as_ref());
    let session = changed.await.map_err(database)?.ok_or_else(wrong_password)?;
    Ok(Json(signed_in(&ingress, session)))
}

impl Form for PasswordChange {
    type Body = Self;

    fn check(change: Self) -> ApiResult<Self> {
        check::password("/newPassword", &change.new_password)?;
        Ok(change)
    }
}

/// Sets a password with a one-time link, which came by mail or from an operator.
#[utoipa::path(post, path = "/auth/password-reset", tag = "accounts",
    request_body = PasswordReset, responses(
        (status = 204, description = "it is set; every session and token of the account has ended"),
        (status = 401, description = "RESET_TOKEN_INVALID"),
    )
)]
async fn reset_password(
    State(ingress): State<Arc<Ingress>>,
    Body(reset): Body<PasswordReset>,
) -> ApiResult<StatusCode> {
    check::password("/password", &reset.password)?;
    let (pool, token) = (&ingress.pool, &reset.token);
    if token.len() != TOKEN_CHARS
        || !password_links::is_good(pool, token).await.map_err(database)?
    {
        return Err(bad_link());
    }
    let hash = ingress.passwords.hash(reset.password).await?;
    let mail = ingress.mail(MailKind::PasswordChanged);
    let account =
        password_links::redeem(pool, token, &hash, mail.as_ref()).await.map_err(database)?;
    account.map(|_| StatusCode::NO_CONTENT).ok_or_else(bad_link)
}

fn ended() -> ApiError {
    let detail = "this session has ended; sign in again";
    ApiError::new(Code::SessionEnded, detail)
}

fn bad_link() -> ApiError {
    let detail = "this link was used, has expired or does not exist; ask for another";
    ApiError::new(Code::ResetTokenInvalid, detail)
}
