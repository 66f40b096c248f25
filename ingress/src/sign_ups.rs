//! Making an account, once for each `Idempotency-Key`.
//!
//! Before there is an account a key belongs to the e-mail address that it came with. Nothing is
//! stored for it: the account's id is a keyed hash of both, and of the rest of the request.

use aws_lc_rs::hmac;
use axum::{Json, Router, http::StatusCode, routing::post};
use contract::{
    AccountId,
    api::{
        accounts::{SignedIn, Signup},
        problem::Problem,
    },
    keys::MasterKey,
};
use platform::http::{ApiError, ApiResult, Body, ClientAddr};
use store::{
    accounts::{self, EMAIL_KEY, ID_KEY, NewAccount},
    sessions::{self, Session},
};
use utoipa::OpenApi;
use uuid::Builder;

use crate::{
    accounts::{NAME_CHARS_MAX, proves, signed_in},
    check,
    errors::database,
    idempotency::{IdempotencyKey, key_reused},
    state::State,
};

#[derive(OpenApi)]
#[openapi(paths(sign_up))]
pub(crate) struct Docs;

pub(crate) fn router() -> Router<State> {
    Router::new().route("/auth/signup", post(sign_up))
}

/// Make an account
#[utoipa::path(post, path = "/auth/signup", tag = "accounts", request_body = Signup,
    params(("Idempotency-Key" = Option<String>, Header)), responses(
        (status = 201, body = SignedIn),
        (status = 400, body = Problem, description = "VALIDATION_FAILED"),
        (status = 409, body = Problem, description = "EMAIL_TAKEN"),
        (status = 503, body = Problem, description = "SIGN_IN_BUSY, DATABASE_UNAVAILABLE"),
    )
)]
async fn sign_up(
    state: State,
    ClientAddr(address): ClientAddr,
    key: Result<IdempotencyKey, ApiError>,
    Body(signup): Body<Signup>,
) -> ApiResult<(StatusCode, Json<SignedIn>)> {
    check::line("/name", &signup.name, NAME_CHARS_MAX)?;
    let email = check::email("/email", &signup.email)?;
    check::password("/password", &signup.password)?;
    check::phone("/phone", signup.phone.as_deref())?;
    let key = key?.0;
    let keyed = key.map(|key| state.account_ids.keyed(&email, &key, &signup));
    let hash = state.passwords.hash(signup.password.clone()).await?;
    let id = keyed.unwrap_or_else(AccountId::new);
    let new = NewAccount { id, name: signup.name, email: email.clone(), phone: signup.phone };
    let made = sessions::sign_up(&state.pool, new, &hash, state.session).await;
    let session = match made {
        Ok(session) => {
            metrics::counter!("usher_accounts_created_total").increment(1);
            session
        }
        Err(error) if error.is_constraint(EMAIL_KEY) || error.is_constraint(ID_KEY) => {
            let Some(keyed) = keyed else { return Err(email_taken()) };
            again(&state, &email, keyed, signup.password, address).await?
        }
        Err(error) => return Err(database(error)),
    };
    state.sign_ins.is_at_home(&email, address).await;
    Ok((StatusCode::CREATED, Json(signed_in(&state, session))))
}

/// Another session of an account that this very request has made, and whose answer was lost.
async fn again(
    state: &State,
    email: &str,
    keyed: AccountId,
    password: String,
    address: std::net::IpAddr,
) -> ApiResult<Session> {
    let known = accounts::by_email(&state.pool, email).await.map_err(database)?;
    let Some(known) = known.filter(|known| is_same_key(known.user.user_id, keyed)) else {
        return Err(email_taken());
    };
    if known.user.user_id != keyed {
        return Err(key_reused());
    }
    if !proves(state, &known, password, address).await? {
        return Err(key_reused());
    }
    sessions::begin(&state.pool, known, state.session).await.map_err(database)
}

fn email_taken() -> ApiError {
    ApiError::conflict("EMAIL_TAKEN", "there is an account with this address")
}

/// Makes the ids of accounts that are asked for with a key.
pub(crate) struct AccountIds(hmac::Key);

/// The first half says by which key, the second for what.
const HALF: usize = 8;

impl AccountIds {
    pub(crate) fn new(master: &MasterKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, master.derive("account-id").as_bytes()))
    }

    /// The password is no part of it: it is compared with the account's.
    fn keyed(&self, email: &str, key: &str, signup: &Signup) -> AccountId {
        let by = self.hash(&[email, key]);
        let what = self.hash(&[email, key, &signup.name, signup.phone.as_deref().unwrap_or("")]);
        let mut bytes = [0; 2 * HALF];
        bytes[..HALF].copy_from_slice(&by);
        bytes[HALF..].copy_from_slice(&what);
        AccountId(Builder::from_custom_bytes(bytes).into_uuid())
    }

    fn hash(&self, texts: &[&str]) -> [u8; HALF] {
        let mut context = hmac::Context::with_key(&self.0);
        for text in texts {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.sign().as_ref()[..HALF].try_into().expect("SHA-256 has 32 bytes")
    }
}

fn is_same_key(one: AccountId, other: AccountId) -> bool {
    one.0.as_bytes()[..HALF] == other.0.as_bytes()[..HALF]
}
