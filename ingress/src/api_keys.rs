//! The caller's API keys: making, listing, rotating and deleting them.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    AccountId, ApiKeyId,
    api::{
        api_keys::{ApiKeyList, ApiKeyRotation, ApiKeySecret, ApiKeyView, NewApiKey},
        problem::Code,
    },
    api_key::ApiKey,
};
use platform::{
    clock,
    http::{ApiError, ApiResult, ClientAddr, PathId, SignedIn},
};
use store::api_keys::{self as keys, Rotated};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Ingress,
    accounts::{NAME_CHARS_MAX, owner},
    check,
    errors::database,
    form::{AccountForm, Form},
};

/// How long the secret before a rotation stays good, where the caller does not say.
const OVERLAP_SECONDS: u32 = 3_600;
const OVERLAP_SECONDS_MAX: u32 = 86_400;

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(delete))
        .routes(routes!(rotate))
}

/// Makes an API key, with which a program acts as this account within the key's scopes.
///
/// The secret is shown once. It is sent as `Authorization: Bearer usher_…`, to calls of ingress
/// only: the waiting room and sockets take access tokens. A changed password or role ends every
/// key of the account.
#[utoipa::path(post, path = "/auth/api-keys", tag = "accounts", security(("bearer" = [])),
    request_body = NewApiKey, responses(
        (status = 201, body = ApiKeySecret),
        (status = 401, description = "UNAUTHENTICATED, BAD_CREDENTIALS"),
        (status = 409, description = "API_KEYS_FULL"),
    )
)]
async fn create(
    State(ingress): State<Arc<Ingress>>,
    ClientAddr(address): ClientAddr,
    AccountForm(account, asked): AccountForm<NewApiKey>,
) -> ApiResult<(StatusCode, Json<ApiKeySecret>)> {
    let NewApiKey { password, name, scopes, expires_at } = asked;
    owner(&ingress, account, password, address).await?;
    let made = keys::create(&ingress.pool, account, &name, &scopes, expires_at);
    let made = made.await.map_err(database)?.ok_or_else(|| {
        let detail = format!("an account has at most {} API keys; delete one", keys::KEYS_MAX);
        ApiError::new(Code::ApiKeysFull, detail)
    })?;
    Ok((StatusCode::CREATED, Json(with_secret(&ingress, account, made, 0))))
}

impl Form for NewApiKey {
    type Body = Self;

    fn check(mut asked: Self) -> ApiResult<Self> {
        check::line("/name", &asked.name, NAME_CHARS_MAX)?;
        if asked.scopes.is_empty() {
            return Err(ApiError::invalid("/scopes", "is empty"));
        }
        asked.scopes.sort_unstable();
        asked.scopes.dedup();
        if let Some(expires_at) = asked.expires_at {
            check::time("/expiresAt", expires_at)?;
            if expires_at <= clock::now() {
                return Err(ApiError::invalid("/expiresAt", "is past"));
            }
        }
        Ok(asked)
    }
}

/// The API keys of the caller, the oldest first, without their secrets.
#[utoipa::path(get, path = "/auth/api-keys", tag = "accounts", security(("bearer" = [])),
    responses(
        (status = 200, body = ApiKeyList),
    )
)]
async fn list(
    State(ingress): State<Arc<Ingress>>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<ApiKeyList>> {
    let items = keys::of(&ingress.pool, caller.account).await.map_err(database)?;
    Ok(Json(ApiKeyList { items }))
}

/// Deletes an API key: it ends within two seconds on every node.
#[utoipa::path(delete, path = "/auth/api-keys/{id}", tag = "accounts", security(("bearer" = [])),
    params(("id" = ApiKeyId, Path)), responses(
        (status = 204),
        (status = 404, description = "API_KEY_NOT_FOUND"),
    )
)]
async fn delete(
    State(ingress): State<Arc<Ingress>>,
    id: ApiResult<PathId<ApiKeyId>>,
    SignedIn(caller): SignedIn,
) -> ApiResult<StatusCode> {
    let PathId(key) = id?;
    if keys::delete(&ingress.pool, caller.account, key).await.map_err(database)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found(Code::ApiKeyNotFound))
    }
}

/// Gives an API key a new secret, which is shown once.
///
/// The present secret stays good for an hour, or for `overlapSeconds`. While an earlier secret is
/// still good, only a rotation with 0 is possible: it ends every earlier secret within two seconds.
#[utoipa::path(post, path = "/auth/api-keys/{id}/rotate", tag = "accounts",
    security(("bearer" = [])), params(("id" = ApiKeyId, Path)), request_body = ApiKeyRotation,
    responses(
        (status = 200, body = ApiKeySecret),
        (status = 401, description = "UNAUTHENTICATED, BAD_CREDENTIALS"),
        (status = 404, description = "API_KEY_NOT_FOUND"),
        (status = 409, description = "API_KEY_JUST_ROTATED"),
    )
)]
async fn rotate(
    State(ingress): State<Arc<Ingress>>,
    id: ApiResult<PathId<ApiKeyId>>,
    ClientAddr(address): ClientAddr,
    AccountForm(account, asked): AccountForm<ApiKeyRotation>,
) -> ApiResult<Json<ApiKeySecret>> {
    let PathId(key) = id?;
    owner(&ingress, account, asked.password, address).await?;
    let overlap = Duration::from_secs(asked.overlap_seconds.unwrap_or(OVERLAP_SECONDS).into());
    match keys::rotate(&ingress.pool, account, key, overlap).await.map_err(database)? {
        Rotated::Next(view, turn) => Ok(Json(with_secret(&ingress, account, *view, turn))),
        Rotated::TooSoon => Err(ApiError::new(
            Code::ApiKeyJustRotated,
            "the secret before the present one is still good; wait, or send overlapSeconds 0",
        )),
        Rotated::None => Err(ApiError::not_found(Code::ApiKeyNotFound)),
    }
}

impl Form for ApiKeyRotation {
    type Body = Self;

    fn check(asked: Self) -> ApiResult<Self> {
        if let Some(seconds) = asked.overlap_seconds {
            check::within("/overlapSeconds", seconds, 0..=OVERLAP_SECONDS_MAX)?;
        }
        Ok(asked)
    }
}

fn with_secret(ingress: &Ingress, account: AccountId, key: ApiKeyView, turn: i32) -> ApiKeySecret {
    let secret = ingress.key_callers.sign(ApiKey { id: key.api_key_id, account, turn });
    ApiKeySecret { secret, key }
}
