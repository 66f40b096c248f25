//! Login and profile.

use std::{net::IpAddr, sync::Arc};

use axum::{Json, extract::State};
use contract::{
    AccountId,
    access::Token,
    api::{
        accounts::{Login, ProfileChange, SignInAnswer, User},
        problem::Code,
    },
    refresh::RefreshTurn,
};
use platform::{
    clock,
    http::{self, ApiError, ApiResult, Body},
};
use store::{
    accounts::{self, Credentials},
    sessions::{self, SignInSession},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Ingress, check,
    codes::wrong_code,
    devices::Caller,
    errors::database,
    form::{AccountForm, Form},
    passwords::QueueSlot,
};

pub(crate) const NAME_CHARS_MAX: usize = 100;

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default().routes(routes!(log_in)).routes(routes!(read_profile, change_profile))
}

/// Signs in.
///
/// Where the account has a second factor, a call with the right password and without `code` is
/// answered `SECOND_FACTOR_REQUIRED`: call again with it. Wrong codes count as wrong passwords.
#[utoipa::path(post, path = "/auth/login", tag = "accounts", request_body = Login, responses(
    (status = 200, body = SignInAnswer),
    (status = 401, description = "BAD_CREDENTIALS, SECOND_FACTOR_REQUIRED, SECOND_FACTOR_WRONG"),
    (status = 503, description = "SIGN_IN_BUSY, DATABASE_UNAVAILABLE"),
))]
async fn log_in(
    State(ingress): State<Arc<Ingress>>,
    caller: Caller,
    Body(login): Body<Login>,
) -> ApiResult<Json<SignInAnswer>> {
    let tried = ingress.sign_ins.try_password(&login.email, caller.address).await?;
    let proof = proven(&ingress, login).await;
    let is_code_wrong = matches!(proof, Ok(Proof::WrongCode));
    let Some(known) = tried.ended(proof.map(Proof::account)).await? else {
        metrics::counter!("usher_logins_refused_total").increment(1);
        return Err(if is_code_wrong {
            wrong_code()
        } else {
            let detail = "the e-mail address or the password is wrong";
            ApiError::new(Code::BadCredentials, detail)
        });
    };
    let start = caller.start(&ingress);
    let session = sessions::begin(&ingress.pool, known, &start).await.map_err(database)?;
    Ok(Json(signed_in(&ingress, session)))
}

/// What a password, and the code where one is needed, prove.
enum Proof {
    Owner(Box<Credentials>),
    WrongPassword,
    WrongCode,
}

impl Proof {
    fn account(self) -> Option<Credentials> {
        match self {
            Self::Owner(known) => Some(*known),
            Self::WrongPassword | Self::WrongCode => None,
        }
    }
}

/// Whether the caller owns the account. An unknown or malformed address takes the same time, so
/// that the time does not tell whether there is an account.
async fn proven(ingress: &Ingress, login: Login) -> ApiResult<Proof> {
    let slot = ingress.passwords.slot()?;
    let known = match check::email("/email", &login.email) {
        Ok(email) => accounts::by_email(&ingress.pool, &email).await.map_err(database)?,
        Err(_) => None,
    };
    prove(ingress, slot, known, (login.password, login.code)).await
}

async fn prove(
    ingress: &Ingress,
    slot: QueueSlot,
    known: Option<Credentials>,
    (password, code): (String, Option<String>),
) -> ApiResult<Proof> {
    let hash = known.as_ref().map(|known| known.password_hash.clone());
    let matches = ingress.passwords.matches(slot, password, hash).await?;
    let Some(known) = known.filter(|_| matches) else { return Ok(Proof::WrongPassword) };
    // Read after the credentials: a factor that is confirmed later ends the session that begins.
    if ingress.codes.accepts(known.user.user_id, code.as_deref()).await? {
        Ok(Proof::Owner(Box::new(known)))
    } else {
        Ok(Proof::WrongCode)
    }
}

/// The signed-in caller's account, if the password is right; an access token may be stolen.
pub(crate) async fn owner(
    ingress: &Ingress,
    account: AccountId,
    password: String,
    address: IpAddr,
) -> ApiResult<Credentials> {
    let known = accounts::credentials(&ingress.pool, account).await.map_err(database)?;
    let known = known.ok_or_else(ApiError::unauthenticated)?;
    if proves(ingress, &known, password, address).await? {
        Ok(known)
    } else {
        Err(wrong_password())
    }
}

/// As [`owner`], with the code of the second factor too.
pub(crate) async fn owner_with_code(
    ingress: &Ingress,
    account: AccountId,
    secrets: (String, Option<String>),
    address: IpAddr,
) -> ApiResult<Credentials> {
    let known = accounts::credentials(&ingress.pool, account).await.map_err(database)?;
    let known = known.ok_or_else(ApiError::unauthenticated)?;
    let tried = ingress.sign_ins.try_password(&known.user.email, address).await?;
    let proof = async { prove(ingress, ingress.passwords.slot()?, Some(known), secrets).await };
    let proof = proof.await;
    let is_code_wrong = matches!(proof, Ok(Proof::WrongCode));
    let refusal = || if is_code_wrong { wrong_code() } else { wrong_password() };
    tried.ended(proof.map(Proof::account)).await?.ok_or_else(refusal)
}

/// 401 for a signed-in caller whose password is wrong.
pub(crate) fn wrong_password() -> ApiError {
    let detail = "this is not the account's current password";
    ApiError::new(Code::BadCredentials, detail)
}

/// Whether the password is this account's; a wrong password counts as a failed sign-in.
pub(crate) async fn proves(
    ingress: &Ingress,
    known: &Credentials,
    password: String,
    address: IpAddr,
) -> ApiResult<bool> {
    let tried = ingress.sign_ins.try_password(&known.user.email, address).await?;
    let proven = async {
        let (slot, hash) = (ingress.passwords.slot()?, Some(known.password_hash.clone()));
        let matches = ingress.passwords.matches(slot, password, hash).await?;
        Ok(matches.then_some(()))
    };
    Ok(tried.ended(proven.await).await?.is_some())
}

/// The caller's account.
#[utoipa::path(get, path = "/auth/profile", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, body = User),
))]
async fn read_profile(
    State(ingress): State<Arc<Ingress>>,
    http::SignedIn(caller): http::SignedIn,
) -> ApiResult<Json<User>> {
    let user = accounts::by_id(&ingress.pool, caller.account).await.map_err(database)?;
    user.map(Json).ok_or_else(ApiError::unauthenticated)
}

/// Changes the caller's name and phone number.
#[utoipa::path(put, path = "/auth/profile", tag = "accounts", security(("bearer" = [])),
    request_body = ProfileChange, responses(
        (status = 200, body = User),
    )
)]
async fn change_profile(
    State(ingress): State<Arc<Ingress>>,
    AccountForm(account, change): AccountForm<ProfileChange>,
) -> ApiResult<Json<User>> {
    let (name, phone) = (change.name.as_str(), change.phone.as_deref());
    let user =
        accounts::change_profile(&ingress.pool, account, name, phone).await.map_err(database)?;
    user.map(Json).ok_or_else(ApiError::unauthenticated)
}

impl Form for ProfileChange {
    type Body = Self;

    fn check(change: Self) -> ApiResult<Self> {
        check::line("/name", &change.name, NAME_CHARS_MAX)?;
        check::phone("/phone", change.phone.as_deref())?;
        Ok(change)
    }
}

/// The tokens of a session, and its user.
pub(crate) fn signed_in(ingress: &Ingress, session: SignInSession) -> SignInAnswer {
    let (user, now) = (session.account.user, clock::now());
    let expires_at = (now + ingress.access_token).min(session.expires_at);
    let token = Token {
        account: user.user_id,
        role: user.role,
        generation: session.account.generation,
        session: Some(session.id),
        issued_at: Some(now),
        expires_at,
    };
    let turn = RefreshTurn { session: session.id, number: session.turn };
    SignInAnswer {
        user,
        access_token: ingress.access.sign(&token),
        expires_at,
        refresh_token: ingress.refresh.sign(turn),
        refresh_expires_at: session.expires_at,
    }
}
