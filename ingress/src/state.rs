//! What every handler works with.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{extract::FromRequestParts, http::request::Parts};
use contract::{
    ShowId,
    api::{catalogue::Show, problem::Code},
    refresh::RefreshKeys,
};
use platform::{
    Shutdown,
    access::Access,
    cache::Cache,
    http::{ApiError, ApiResult},
};
use store::{
    Pool,
    catalogue::shows,
    keys::Keys,
    live::{
        board::{self, Board},
        keys,
        revoked::Revoked,
    },
    revocations,
    sale::Sale,
};
use tokio::sync::watch;
use tracing::warn;

use crate::{
    account_ids::AccountIds, config::Config, errors::database, passwords::Passwords,
    seat_maps::SeatMaps, sign_ins::SignIns,
};

/// Connections by which the node follows what it needs for every answer: the board's, two that look
/// at bookings, one that tells what was accepted, and two for the rest.
const FOLLOWING_CONNECTIONS_MAX: u32 = 6;
/// How often old idempotent answers are forgotten, and how many at once.
const FORGET_EVERY: Duration = Duration::from_mins(1);
const FORGET_MAX: i64 = 10_000;
/// A board older than this says that Postgres cannot be reached.
const BOARD_AGE_MAX: Duration = Duration::from_secs(3);
/// How long a change waits to be seen on this node's board before it is answered anyway.
const BOARD_WAIT: Duration = Duration::from_secs(2);

/// The service's state; cheap to clone.
#[derive(Clone)]
pub(crate) struct State(Arc<Shared>);

/// What [`State`] holds.
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    /// For what the node follows and what bookings need at the door: clients' calls, which may hold
    /// every connection of the others, have none of it.
    pub(crate) following: Pool,
    /// The replica, where there is one. It may lag; never read from it what was just written.
    pub(crate) read_pool: Pool,
    pub(crate) cache: Cache,
    pub(crate) board: watch::Receiver<Arc<Board>>,
    pub(crate) pass_keys: watch::Receiver<Arc<Keys>>,
    pub(crate) revoked: Revoked,
    pub(crate) access: Access,
    pub(crate) refresh: RefreshKeys,
    pub(crate) session: Duration,
    pub(crate) access_token: Duration,
    pub(crate) passwords: Passwords,
    pub(crate) sign_ins: SignIns,
    pub(crate) account_ids: AccountIds,
    pub(crate) seat_maps: SeatMaps,
}

impl State {
    /// Connects to what the service needs, and starts what keeps it fresh.
    pub(crate) async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let backends = &config.backends;
        let connections_max = backends.database_connections_max;
        let pool = store::connect(&backends.database_url, "ingress", connections_max)?;
        let read_pool = match &backends.database_replica_url {
            Some(url) => store::connect(url, "ingress", connections_max)?,
            None => pool.clone(),
        };
        let following =
            store::connect(&backends.database_url, "ingress", FOLLOWING_CONNECTIONS_MAX)?;
        let pass_keys = keys::watch(&following, &backends.master_key, shutdown).await?;
        forget_old_answers(pool.clone(), shutdown);
        let cache = Cache::new(&backends.redis_url)?;
        let (limits, master) = (&config.limits, &backends.master_key);
        let sign_ins = SignIns::start(limits, master, cache.clone(), shutdown);
        let revocations = revocations::follow(following.clone(), shutdown).await?;
        Ok(Self(Arc::new(Shared {
            board: board::watch(following.clone(), shutdown).await?,
            pass_keys,
            revoked: Revoked::watch(following.clone(), shutdown).await?,
            seat_maps: SeatMaps::new(read_pool.clone()),
            pool,
            following,
            read_pool,
            cache,
            access: Access::new(&backends.master_key, revocations),
            refresh: RefreshKeys::new(&backends.master_key),
            session: Duration::from_hours(24) * config.sign_in.session_days,
            access_token: Duration::from_secs(config.sign_in.access_token_seconds.into()),
            passwords: Passwords::new(config.sign_in.password_hashes_max)?,
            sign_ins,
            account_ids: AccountIds::new(&backends.master_key),
        })))
    }

    /// A show, from the board where it is there, else from the tables.
    pub(crate) async fn show(&self, show: ShowId) -> ApiResult<Arc<Sale>> {
        if let Some(sale) = self.board.borrow().sale(show) {
            return Ok(sale);
        }
        let found = shows::by_id(&self.pool, show).await.map_err(database)?;
        found.map(Arc::new).ok_or_else(|| ApiError::not_found(Code::ShowNotFound))
    }

    /// A show as clients see it now.
    pub(crate) fn as_seen(&self, sale: &Sale) -> Show {
        shows::as_seen(sale, self.board.borrow().now())
    }

    /// Waits until this node's board shows what has just been committed.
    pub(crate) async fn board_caught_up(&self) {
        let mut board = self.board.clone();
        // A reading that was on its way may be older than the commit; the one after it is not.
        let two_readings = async {
            for _ in 0..2 {
                board.mark_unchanged();
                if board.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(BOARD_WAIT, two_readings).await.is_err() {
            warn!("the board did not show a change in {BOARD_WAIT:?}");
        }
    }
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRequestParts<State> for State {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, state: &State) -> Result<Self, Self::Rejection> {
        Ok(state.clone())
    }
}

/// Whether a board of this age says that Postgres answers.
pub(crate) fn fresh_enough(age: Duration) -> Result<(), String> {
    if age < BOARD_AGE_MAX {
        return Ok(());
    }
    Err(format!("has not answered for {} s", age.as_secs()))
}

fn forget_old_answers(pool: Pool, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        while stop.sleep(FORGET_EVERY).await {
            if let Err(error) = store::idempotency::forget_old(&pool, FORGET_MAX).await {
                warn!("old answers cannot be forgotten: {:#}", anyhow::Error::from(error));
            }
            let over = async {
                revocations::forget_old(&pool, FORGET_MAX).await?;
                store::sessions::forget_old(&pool, FORGET_MAX).await
            };
            if let Err(error) = over.await {
                warn!("old sessions cannot be forgotten: {:#}", anyhow::Error::from(error));
            }
        }
    });
}
