//! Signing up: makes an account, once for each `Idempotency-Key`.

use std::{net::IpAddr, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    AccountId,
    api::{
        accounts::{SignInAnswer, Signup},
        problem::Code,
    },
    mail::MailKind,
};
use platform::http::{ApiError, ApiResult, Body};
use store::{
    accounts::{self, EMAIL_KEY, ID_KEY, NewAccount},
    sessions::{self, SignInSession, Start},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Ingress,
    account_ids::is_same_key,
    accounts::{NAME_CHARS_MAX, proves, signed_in},
    check,
    devices::Caller,
    errors::database,
    idempotency::{IdempotencyKey, key_reused},
};

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default().routes(routes!(sign_up))
}

/// Makes an account, and sends a mail with a link that verifies its address.
#[utoipa::path(post, path = "/auth/signup", tag = "accounts", request_body = Signup,
    params(("Idempotency-Key" = Option<String>, Header)), responses(
        (status = 201, body = SignInAnswer),
        (status = 401, description = "SECOND_FACTOR_REQUIRED"),
        (status = 409, description = "EMAIL_TAKEN"),
        (status = 503, description = "SIGN_IN_BUSY, DATABASE_UNAVAILABLE"),
    )
)]
async fn sign_up(
    State(ingress): State<Arc<Ingress>>,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(signup): Body<Signup>,
) -> ApiResult<(StatusCode, Json<SignInAnswer>)> {
    check::line("/name", &signup.name, NAME_CHARS_MAX)?;
    let email = check::email("/email", &signup.email)?;
    check::password("/password", &signup.password)?;
    check::phone("/phone", signup.phone.as_deref())?;
    let keyed = key.map(|key| ingress.account_ids.keyed(&email, &key, &signup));
    let hash = ingress.passwords.hash(signup.password.clone()).await?;
    let id = keyed.unwrap_or_else(AccountId::new);
    let new = NewAccount { id, name: signup.name, email: email.clone(), phone: signup.phone };
    let (address, start) = (caller.address, caller.start(&ingress));
    let mail = ingress.mail(MailKind::VerifyAddress);
    let made = sessions::sign_up(&ingress.pool, new, &hash, &start, mail.as_ref()).await;
    let session = match made {
        Ok(session) => {
            metrics::counter!("usher_accounts_created_total").increment(1);
            session
        }
        Err(error) if error.is_constraint(EMAIL_KEY) || error.is_constraint(ID_KEY) => {
            let Some(keyed) = keyed else { return Err(email_taken()) };
            again(&ingress, &email, keyed, (signup.password, address), &start).await?
        }
        Err(error) => return Err(database(error)),
    };
    ingress.sign_ins.is_at_home(&email, address).await;
    Ok((StatusCode::CREATED, Json(signed_in(&ingress, session))))
}

/// A new session for a repeated sign-up whose account was made and whose answer was lost.
async fn again(
    ingress: &Ingress,
    email: &str,
    keyed: AccountId,
    (password, address): (String, IpAddr),
    start: &Start,
) -> ApiResult<SignInSession> {
    let known = accounts::by_email(&ingress.pool, email).await.map_err(database)?;
    let Some(known) = known.filter(|known| is_same_key(known.user.user_id, keyed)) else {
        return Err(email_taken());
    };
    if known.user.user_id != keyed {
        return Err(key_reused());
    }
    if !proves(ingress, &known, password, address).await? {
        return Err(key_reused());
    }
    // Long after the sign-up the account may have a second factor, which a sign-in asks for.
    ingress.codes.accepts(known.user.user_id, None).await?;
    sessions::begin(&ingress.pool, known, start).await.map_err(database)
}

fn email_taken() -> ApiError {
    ApiError::new(Code::EmailTaken, "an account with this address exists")
}
