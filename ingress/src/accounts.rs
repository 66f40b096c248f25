//! Login and profile.

use std::{net::IpAddr, sync::Arc};

use axum::{Json, extract::State};
use contract::{
    access::Token,
    api::{
        accounts::{Login, ProfileChange, SignInAnswer, User},
        problem::Code,
    },
    refresh::RefreshTurn,
};
use platform::{
    clock,
    http::{self, ApiError, ApiResult, Body, ClientAddr},
};
use store::{
    accounts::{self, Credentials},
    sessions::{self, SignInSession},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Ingress, check,
    errors::database,
    form::{AccountForm, Form},
};

pub(crate) const NAME_CHARS_MAX: usize = 100;

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default().routes(routes!(log_in)).routes(routes!(read_profile, change_profile))
}

/// Signs in.
#[utoipa::path(post, path = "/auth/login", tag = "accounts", request_body = Login, responses(
    (status = 200, body = SignInAnswer),
    (status = 401, description = "BAD_CREDENTIALS"),
    (status = 503, description = "SIGN_IN_BUSY, DATABASE_UNAVAILABLE"),
))]
async fn log_in(
    State(ingress): State<Arc<Ingress>>,
    ClientAddr(address): ClientAddr,
    Body(login): Body<Login>,
) -> ApiResult<Json<SignInAnswer>> {
    let tried = ingress.sign_ins.try_password(&login.email, address).await?;
    let Some(known) = tried.ended(proven(&ingress, login).await).await? else {
        metrics::counter!("usher_logins_refused_total").increment(1);
        return Err(ApiError::new(
            Code::BadCredentials,
            "the e-mail address or the password is wrong",
        ));
    };
    let session = sessions::begin(&ingress.pool, known, ingress.session).await.map_err(database)?;
    Ok(Json(signed_in(&ingress, session)))
}

/// The account, if the password is right. An unknown or malformed address takes the same time, so
/// that the time does not tell whether there is an account.
async fn proven(ingress: &Ingress, login: Login) -> ApiResult<Option<Credentials>> {
    let slot = ingress.passwords.slot()?;
    let known = match check::email("/email", &login.email) {
        Ok(email) => accounts::by_email(&ingress.pool, &email).await.map_err(database)?,
        Err(_) => None,
    };
    let hash = known.as_ref().map(|known| known.password_hash.clone());
    let matches = ingress.passwords.matches(slot, login.password, hash).await?;
    Ok(known.filter(|_| matches))
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
