//! The caller, the body and the answer of every write of an organiser.

use std::sync::Arc;

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderName, StatusCode, header, request::Parts},
};
use contract::{
    AccountId, MovieId, ScreenId, ShowId, TheatreId,
    api::{BASE, problem::Code},
};
use futures_util::future::BoxFuture;
use platform::http::{
    ADMIN_BODY_BYTES_MAX, ApiError, ApiResult, Body, ClientAddr, KnownCaller, RequestId,
};
use serde::{Serialize, de::DeserializeOwned};
use store::{
    Connection,
    audit_log::{self, Author},
    catalogue::{Retirement, movies, screens, shows},
    second_factors, staff,
};

use crate::{
    Ingress,
    errors::{database, transaction},
    idempotency::Write,
};

/// The caller, who must organise a theatre, or be an admin, with a second factor where the
/// installation asks for one: confirming one ends every session that began without it. Checked before
/// the body is read, which may be large; whether the caller may do this very thing is checked in its
/// transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Organiser {
    author: Author,
    is_admin: bool,
}

impl FromRequestParts<Arc<Ingress>> for Organiser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> ApiResult<Self> {
        let KnownCaller { token, is_admin } =
            KnownCaller::from_request_parts(parts, ingress).await?;
        let account = token.account;
        if is_admin && ingress.admins_need_second_factor {
            let asked = second_factors::is_confirmed(&ingress.pool, account).await;
            if !asked.map_err(database)? {
                let detail = "administrators need a second factor; begin with POST /auth/totp";
                return Err(ApiError::new(Code::SecondFactorNeeded, detail));
            }
        }
        if !is_admin && !staff::organises(&ingress.pool, account, None).await.map_err(database)? {
            return Err(ApiError::forbidden());
        }
        let ClientAddr(address) = ClientAddr::from_request_parts(parts, ingress).await?;
        let RequestId(request) = RequestId::from_request_parts(parts, ingress).await?;
        Ok(Self { author: Author { account, address, request }, is_admin })
    }
}

impl Organiser {
    pub(super) fn account(&self) -> AccountId {
        self.author.account
    }

    pub(super) fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// 403 for whoever is no admin.
    pub(super) fn must_be_admin(&self) -> ApiResult<()> {
        if self.is_admin { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// 403 for whoever may not change what belongs to this theatre.
    pub(super) async fn must_run(&self, tx: &mut Connection, theatre: TheatreId) -> ApiResult<()> {
        let runs = self.is_admin
            || staff::organises(tx, self.account(), Some(theatre)).await.map_err(database)?;
        if runs { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// 404 where there is no such show, 403 for whoever may not change it.
    pub(super) async fn must_run_show(&self, tx: &mut Connection, show: ShowId) -> ApiResult<()> {
        let theatre = shows::theatre_of(tx, show).await.map_err(database)?;
        let theatre = theatre.ok_or_else(|| ApiError::not_found(Code::ShowNotFound))?;
        self.must_run(tx, theatre).await
    }

    /// 404 where there is no such screen, 403 for whoever may not change it.
    pub(super) async fn must_run_screen(
        &self,
        tx: &mut Connection,
        screen: ScreenId,
    ) -> ApiResult<()> {
        let theatre = screens::theatre_of(tx, screen).await.map_err(database)?;
        let theatre = theatre.ok_or_else(|| ApiError::not_found(Code::ScreenNotFound))?;
        self.must_run(tx, theatre).await
    }

    /// 404 where there is no such movie, 403 for whoever has not entered it.
    pub(super) async fn must_have_entered(
        &self,
        tx: &mut Connection,
        movie: MovieId,
    ) -> ApiResult<()> {
        let owner = movies::owner(tx, movie).await.map_err(database)?;
        let owner = owner.ok_or_else(|| ApiError::not_found(Code::MovieNotFound))?;
        let may = self.is_admin || owner == Some(self.account());
        if may { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// Does the work of a POST once, signed by the caller.
    pub(super) async fn once<T, W>(
        self,
        ingress: &Arc<Ingress>,
        write: Write,
        body: &impl Serialize,
        status: StatusCode,
        work: W,
    ) -> ApiResult<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        W: for<'t> FnOnce(&'t mut Connection) -> BoxFuture<'t, ApiResult<T>> + Send + 'static,
    {
        write
            .once(ingress, self.account(), body, status, move |tx| Box::pin(self.signed(tx, work)))
            .await
    }

    /// Does the work of another call in a transaction, signed by the caller. The work goes on even if
    /// the client goes away.
    pub(super) async fn change<T, W>(self, ingress: &Arc<Ingress>, work: W) -> ApiResult<T>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Connection) -> BoxFuture<'t, ApiResult<T>> + Send + 'static,
    {
        self.in_transaction(ingress, End::Commit, work).await
    }

    /// Does the work in a transaction that leaves no trace.
    pub(super) async fn try_out<T, W>(self, ingress: &Arc<Ingress>, work: W) -> ApiResult<T>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Connection) -> BoxFuture<'t, ApiResult<T>> + Send + 'static,
    {
        self.in_transaction(ingress, End::Rollback, work).await
    }

    async fn in_transaction<T, W>(self, ingress: &Ingress, end: End, work: W) -> ApiResult<T>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Connection) -> BoxFuture<'t, ApiResult<T>> + Send + 'static,
    {
        let pool = ingress.pool.clone();
        store::detached(async move {
            let mut tx = pool.begin().await.map_err(transaction)?;
            let done = self.signed(&mut tx, work).await?;
            match end {
                End::Commit => tx.commit().await.map_err(transaction)?,
                End::Rollback => tx.rollback().await.map_err(transaction)?,
            }
            Ok(done)
        })
        .await
    }

    async fn signed<T, W>(self, tx: &mut Connection, work: W) -> ApiResult<T>
    where
        W: for<'t> FnOnce(&'t mut Connection) -> BoxFuture<'t, ApiResult<T>>,
    {
        audit_log::sign(tx, &self.author).await.map_err(database)?;
        work(tx).await
    }
}

/// How a transaction ends whose work has succeeded.
enum End {
    Commit,
    Rollback,
}

/// The body of an organiser's write.
pub(super) type AdminBody<T> = Body<T, ADMIN_BODY_BYTES_MAX>;

/// 204 where something was taken off the lists; an error where it was not there or is needed.
pub(super) fn retired(retirement: Retirement, not_found: Code) -> ApiResult<StatusCode> {
    match retirement {
        Retirement::Done => Ok(StatusCode::NO_CONTENT),
        Retirement::NotFound => Err(ApiError::not_found(not_found)),
        Retirement::InUse { shows, first } => {
            let detail = format!(
                "shows to come need it, {shows} in all, the first of them {first}: move them or \
                 take them off the lists first"
            );
            let error = ApiError::new(Code::StillInUse, detail);
            Err(error.with("shows", shows).with("first", first.to_string()))
        }
    }
}

/// 201 with the new thing and where it is.
pub(super) type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

pub(super) fn created<T>(path: &str, id: impl std::fmt::Display, thing: T) -> Created<T> {
    let location = [(header::LOCATION, format!("{BASE}/{path}/{id}"))];
    (StatusCode::CREATED, location, Json(thing))
}
