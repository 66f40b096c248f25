//! The state that every handler uses.

use std::{sync::Arc, time::Duration};

use contract::{
    ShowId,
    api::{catalogue::Show, problem::Code},
    mail::{LinkTokens, MailKind, MailRequest},
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
    keys::PassKeySet,
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
    account_ids::AccountIds, codes::Codes, config::Config, errors::database, kept::KeptAnswers,
    key_callers::KeyCallers, passwords::Passwords, pipeline::Pipeline, sign_ins::SignIns,
};

/// How often old answers, revocations and sessions are deleted, and how many rows at once.
const FORGET_EVERY: Duration = Duration::from_mins(1);
const FORGET_MAX: i64 = 10_000;
/// Longest time a change waits to be seen on this node's board before it is answered.
const BOARD_WAIT: Duration = Duration::from_secs(2);

/// The service's state.
pub(crate) struct Ingress {
    pub(crate) pool: Pool,
    /// The replica if there is one, else `pool`. It may lag: never read from it what was just
    /// written.
    pub(crate) read_pool: Pool,
    pub(crate) cache: Cache,
    pub(crate) board: watch::Receiver<Arc<Board>>,
    pub(crate) pass_keys: watch::Receiver<Arc<PassKeySet>>,
    pub(crate) revoked: Revoked,
    pub(crate) access: Access,
    pub(crate) refresh: RefreshKeys,
    pub(crate) session: Duration,
    pub(crate) access_token: Duration,
    pub(crate) passwords: Passwords,
    pub(crate) sign_ins: SignIns,
    pub(crate) codes: Codes,
    pub(crate) admins_need_second_factor: bool,
    pub(crate) key_callers: KeyCallers,
    pub(crate) account_ids: AccountIds,
    /// `None` if this installation sends no mail.
    pub(crate) links: Option<LinkTokens>,
    pub(crate) kept: Arc<KeptAnswers>,
    pub(crate) pipeline: Pipeline,
}

impl Ingress {
    /// Connects to the backends, and starts the tasks that keep the state fresh.
    pub(crate) async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Arc<Self>> {
        let backends = &config.backends;
        let connections_max = backends.database_connections_max;
        let pool = store::connect(&backends.database_url, "ingress", connections_max)?;
        let read_pool = match &backends.database_replica_url {
            Some(url) => store::connect(url, "ingress", connections_max)?,
            None => pool.clone(),
        };
        // For background work and the checks of bookings. Clients' other calls do not use it, so that
        // they cannot take its connections.
        let following = store::connect_to_follow(&backends.database_url, "ingress")?;
        let pass_keys = keys::watch(&following, &backends.master_key, shutdown).await?;
        forget_old_answers(pool.clone(), shutdown);
        let cache = Cache::new(&backends.redis_url)?;
        let (limits, master) = (&config.limits, &backends.master_key);
        let sign_ins = SignIns::start(limits, master, cache.clone(), shutdown);
        let revocations = revocations::follow(following.clone(), shutdown).await?;
        let board = board::watch(following.clone(), shutdown).await?;
        Ok(Arc::new(Self {
            pipeline: Pipeline::start(&following, &board, backends, shutdown).await?,
            board,
            pass_keys,
            revoked: Revoked::watch(following, shutdown).await?,
            kept: Arc::new(KeptAnswers::new()),
            codes: Codes::new(&backends.master_key, pool.clone()),
            key_callers: KeyCallers::new(&backends.master_key, pool.clone()),
            pool,
            read_pool,
            cache,
            access: Access::new(&backends.master_key, revocations),
            refresh: RefreshKeys::new(&backends.master_key),
            session: Duration::from_hours(24) * config.sign_in.session_days,
            access_token: Duration::from_secs(config.sign_in.access_token_seconds.into()),
            passwords: Passwords::new(config.sign_in.password_hashes_max)?,
            sign_ins,
            admins_need_second_factor: config.sign_in.admins_need_second_factor,
            account_ids: AccountIds::new(&backends.master_key),
            links: config.mail.is_on().then(|| LinkTokens::new(&backends.master_key)),
        }))
    }

    /// A new mail; `None` if this installation sends none.
    pub(crate) fn mail(&self, kind: MailKind) -> Option<MailRequest> {
        self.links.as_ref().map(|links| links.request(kind))
    }

    /// A show, from the board, or from the database if the board does not have it.
    pub(crate) async fn show(&self, show: ShowId) -> ApiResult<Arc<Sale>> {
        if let Some(sale) = self.board.borrow().sale(show) {
            return Ok(sale);
        }
        let found = shows::by_id(&self.pool, show).await.map_err(database)?;
        found.map(Arc::new).ok_or_else(|| ApiError::not_found(Code::ShowNotFound))
    }

    /// A show in the form clients see, at this moment.
    pub(crate) fn as_seen(&self, sale: &Sale) -> Show {
        shows::as_seen(sale, self.board.borrow().now())
    }

    /// Waits until this node's board shows what has just been committed.
    pub(crate) async fn board_caught_up(&self) {
        let mut board = self.board.clone();
        // The first read may have begun before the commit; the second has not.
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

fn forget_old_answers(pool: Pool, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        while stop.sleep(FORGET_EVERY).await {
            if let Err(error) = store::idempotency::forget_old(&pool, FORGET_MAX).await {
                warn!("deleting old answers failed: {:#}", anyhow::Error::from(error));
            }
            let over = async {
                revocations::forget_old(&pool, FORGET_MAX).await?;
                store::sessions::forget_old(&pool, FORGET_MAX).await?;
                store::mails::forget_old(&pool, FORGET_MAX).await
            };
            if let Err(error) = over.await {
                warn!("deleting old sessions and mails failed: {:#}", anyhow::Error::from(error));
            }
        }
    });
}
