//! Mails that a caller asks for, and the links in them.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    api::{
        accounts::{AddressProof, PasswordForgotten, User},
        problem::Code,
    },
    mail::{MailKind, TOKEN_CHARS},
};
use platform::http::{ApiError, ApiResult, Body, SignedIn};
use store::{
    mails::{self, Asked},
    password_links,
};
use tokio::time::{Instant, sleep_until};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Ingress, check, errors::database};

/// The answer to a forgotten password comes at a multiple of this time, so that its time does not
/// tell whether there is an account. Writing a request takes a few milliseconds.
const ANSWER_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default()
        .routes(routes!(verify))
        .routes(routes!(send_verification))
        .routes(routes!(send_reset))
}

/// Verifies an address with the link that was sent to it.
#[utoipa::path(post, path = "/auth/verify", tag = "accounts", request_body = AddressProof,
    responses(
        (status = 200, body = User),
        (status = 401, description = "VERIFY_TOKEN_INVALID"),
    )
)]
async fn verify(
    State(ingress): State<Arc<Ingress>>,
    Body(proof): Body<AddressProof>,
) -> ApiResult<Json<User>> {
    let user = match proof.token.len() {
        TOKEN_CHARS => mails::verify(&ingress.pool, &proof.token).await.map_err(database)?,
        _ => None,
    };
    user.map(Json).ok_or_else(|| {
        let detail = "this link was used, has expired or does not exist; ask for another";
        ApiError::new(Code::VerifyTokenInvalid, detail)
    })
}

/// Sends the mail that verifies the caller's address again.
///
/// Once a minute, and after five times in a day once in half a day. Nothing is sent if the address
/// is verified, or if the installation sends no mail.
#[utoipa::path(post, path = "/auth/verify/send", tag = "accounts", security(("bearer" = [])),
    responses((status = 202))
)]
async fn send_verification(
    State(ingress): State<Arc<Ingress>>,
    SignedIn(caller): SignedIn,
) -> ApiResult<StatusCode> {
    let Some(mail) = ingress.mail(MailKind::VerifyAddress) else { return Ok(StatusCode::ACCEPTED) };
    let asked = mails::ask_to_verify(&ingress.pool, caller.account, &mail);
    match asked.await.map_err(database)? {
        Asked::Yes | Asked::NotNeeded => Ok(StatusCode::ACCEPTED),
        Asked::Wait(wait) => {
            let detail = "this mail was sent a moment ago or five times today, and its link \
                          works: look for it, or wait";
            Err(ApiError::new(Code::RateLimited, detail).retry_after(wait))
        }
        Asked::NoAccount => Err(ApiError::unauthenticated()),
    }
}

/// Sends a link that sets a new password, if an account has this address.
///
/// The answer is the same, and comes after the same time, if there is no such account, or if a link
/// was sent within the last minute, or within the last quarter of an hour after five in a day.
#[utoipa::path(post, path = "/auth/password-reset/send", tag = "accounts",
    request_body = PasswordForgotten, responses(
        (status = 202),
        (status = 503, description = "DATABASE_UNAVAILABLE"),
    )
)]
async fn send_reset(
    State(ingress): State<Arc<Ingress>>,
    Body(forgotten): Body<PasswordForgotten>,
) -> ApiResult<StatusCode> {
    let email = check::email("/email", &forgotten.email)?;
    let began = Instant::now();
    if let Some(mail) = ingress.mail(MailKind::PasswordReset) {
        password_links::ask_by_mail(&ingress.pool, &email, &mail).await.map_err(database)?;
    }
    let turns = began.elapsed().as_millis() / ANSWER_EVERY.as_millis() + 1;
    let wait = ANSWER_EVERY.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX));
    sleep_until(began + wait).await;
    Ok(StatusCode::ACCEPTED)
}
