//! Who works for which theatre.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
};
use contract::{
    AccountId, TheatreId,
    api::{
        problem::Code,
        staff::{Memberships, NewStaffMember, Staff, StaffMember, StaffRole},
    },
};
use platform::http::{ApiError, ApiResult, Body, PathId, SignedIn, path_ids};
use store::{Connection, accounts, catalogue::theatres, staff};

use super::write::Organiser;
use crate::{Ingress, check, errors::database, idempotency::Write};

/// What the caller may do, by theatre.
#[utoipa::path(get, path = "/auth/memberships", tag = "accounts", security(("bearer" = [])),
    responses(
        (status = 200, body = Memberships),
    )
)]
pub(crate) async fn read_memberships(
    State(ingress): State<Arc<Ingress>>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Memberships>> {
    let items = staff::memberships(&ingress.pool, caller.account).await.map_err(database)?;
    Ok(Json(Memberships { items }))
}

/// The staff of a theatre.
#[utoipa::path(get, path = "/theatres/{id}/staff", tag = "administration",
    security(("bearer" = [])), params(("id" = TheatreId, Path)), responses(
        (status = 200, body = Staff),
        (status = 404, description = "THEATRE_NOT_FOUND"),
    )
)]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(theatre): PathId<TheatreId>,
) -> ApiResult<Json<Staff>> {
    let listing = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            is_there(tx, theatre).await?;
            organiser.must_run(tx, theatre).await?;
            staff::of_theatre(tx, theatre).await.map_err(database)
        })
    });
    Ok(Json(Staff { items: listing.await? }))
}

/// Gives an account a role in a theatre, in the place of the one it had there.
///
/// An admin chooses organisers, and organisers choose the others.
#[utoipa::path(post, path = "/theatres/{id}/staff", tag = "administration",
    security(("bearer" = [])), request_body = NewStaffMember,
    params(("id" = TheatreId, Path), ("Idempotency-Key" = Option<String>, Header)), responses(
        (status = 201, body = StaffMember),
        (status = 404, description = "THEATRE_NOT_FOUND"),
        (status = 422, description = "LIMIT_EXCEEDED"),
    )
)]
pub(super) async fn give(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    PathId(theatre): PathId<TheatreId>,
    Body(new): Body<NewStaffMember>,
) -> ApiResult<(StatusCode, Json<StaffMember>)> {
    let email = check::email("/email", &new.email)?;
    let known = accounts::by_email(&ingress.pool, &email).await.map_err(database)?;
    let role = new.role;
    let giving = organiser.once(&ingress, write, &new, StatusCode::CREATED, move |tx| {
        Box::pin(async move {
            if !staff::lock(tx, theatre).await.map_err(database)? {
                return Err(ApiError::not_found(Code::TheatreNotFound));
            }
            organiser.must_run(tx, theatre).await?;
            // After the caller's right, so that a stranger does not learn who has an account.
            let unknown = || ApiError::invalid("/email", "is not the address of an account");
            let account = known.ok_or_else(unknown)?.user.user_id;
            may_choose(&organiser, tx, theatre, account, Some(role)).await?;
            if !staff::give(tx, theatre, account, role).await.map_err(database)? {
                let detail = format!("a theatre has at most {} people", staff::STAFF_MAX);
                return Err(ApiError::new(Code::LimitExceeded, detail).with("limit", "STAFF"));
            }
            let all = staff::of_theatre(tx, theatre).await.map_err(database)?;
            all.into_iter()
                .find(|member| member.account_id == account)
                .ok_or_else(|| ApiError::internal(anyhow::anyhow!("the new member is not there")))
        })
    });
    Ok((StatusCode::CREATED, Json(giving.await?)))
}

/// Takes an account's role in a theatre away, which counts at once.
#[utoipa::path(delete, path = "/theatres/{id}/staff/{accountId}", tag = "administration",
    security(("bearer" = [])),
    params(("id" = TheatreId, Path), ("accountId" = AccountId, Path)), responses(
        (status = 204),
        (status = 404, description = "THEATRE_NOT_FOUND, ACCOUNT_NOT_FOUND"),
    )
)]
pub(super) async fn take(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    Member(theatre, account): Member,
) -> ApiResult<StatusCode> {
    let taking = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            is_there(tx, theatre).await?;
            organiser.must_run(tx, theatre).await?;
            may_choose(&organiser, tx, theatre, account, None).await?;
            if staff::take(tx, theatre, account).await.map_err(database)? {
                Ok(StatusCode::NO_CONTENT)
            } else {
                Err(ApiError::not_found(Code::AccountNotFound))
            }
        })
    });
    taking.await
}

/// A theatre and an account in a path.
pub(super) struct Member(TheatreId, AccountId);

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let (theatre, account) = path_ids(parts, state, ["id", "accountId"]).await?;
        Ok(Self(theatre, account))
    }
}

async fn is_there(tx: &mut Connection, theatre: TheatreId) -> ApiResult<()> {
    let is_there = theatres::exists(tx, theatre).await.map_err(database)?;
    if is_there { Ok(()) } else { Err(ApiError::not_found(Code::TheatreNotFound)) }
}

/// 403 where an organiser would make or unmake an organiser: only admins do that.
async fn may_choose(
    organiser: &Organiser,
    tx: &mut Connection,
    theatre: TheatreId,
    account: AccountId,
    new: Option<StaffRole>,
) -> ApiResult<()> {
    let before = staff::role_of(tx, theatre, account).await.map_err(database)?;
    let highest = [before, new].contains(&Some(StaffRole::Organiser));
    if highest { organiser.must_be_admin() } else { Ok(()) }
}
