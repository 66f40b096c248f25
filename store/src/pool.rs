//! The way to the database: a bounded pool behind a circuit breaker, and migrations.
//!
//! [`Pool`] and [`Connection`] stand in for sqlx's `PgPool` and `PgConnection` and are used alike.
//! They add a limit to every wait, and close a connection on which a wait was given up. sqlx can
//! set neither keepalive nor a user timeout on its sockets, so a server that is frozen or gone
//! without a word is noticed here or not at all; `tcp_user_timeout` below is the server's own.
//!
//! A full pool says nothing about the database and does not open the breaker. A call that finds no
//! place in time is refused (`usher_database_pool_full_total`).

use std::{borrow::Cow, future::Future, io, str::FromStr as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use contract::deadline::STATEMENT_MAX;
use futures_util::{TryFutureExt as _, future::BoxFuture, stream::BoxStream};
use platform::breaker::{Away, Breaker, Rules};
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Error, Execute, Executor, Postgres, SqlStr,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    connection::{Connection, Transaction},
    server::Server,
};

/// Longest wait for a place in the pool, and then for a connection: a new one, or a sign of life of
/// an idle one.
const ACQUIRE_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for a statement's answer. The server ends a statement before that. If it does not,
/// it is frozen or gone, and the statement may or may not have run.
const STATEMENT_WAIT: Duration = STATEMENT_MAX.saturating_add(Duration::from_secs(1));
/// Longest wait for a statement's answer on a pool without limits on statements.
const PATIENT_WAIT: Duration = Duration::from_hours(24);
/// Connections of a pool to follow: one for each of three things, and in an ingress node two for
/// looks at bookings and one for reporting acceptances.
const FOLLOWING_CONNECTIONS_MAX: u32 = 6;
/// PostgreSQL's code for a database that already exists.
const DUPLICATE_DATABASE: &str = "42P04";

const RULES: Rules = Rules { dependency: "postgres", failures_max: 2, call_wait: ACQUIRE_WAIT };

/// Connections to the database. Cheap to clone.
///
/// Getting a connection fails at once while the breaker is open. Statements on a connection that
/// was taken before are still sent.
#[derive(Clone, Debug)]
pub struct Pool {
    server: Server,
    /// One for each connection, kept until the connection is back, because sqlx does not tell a
    /// full pool from a silent database.
    places: Arc<Semaphore>,
}

/// Opens a pool. It connects when it is first used, so a database that is away does not delay the
/// start.
pub fn connect(url: &str, name: &str, connections_max: u32) -> anyhow::Result<Pool> {
    Ok(Pool::new(options(url, name)?, connections_max, STATEMENT_WAIT))
}

/// Opens a pool for what a node follows or others wait for (board, keys, revocations, heartbeat),
/// apart from the pool of its calls or batches, so that they cannot take its connections.
pub fn connect_to_follow(url: &str, name: &str) -> anyhow::Result<Pool> {
    connect(url, name, FOLLOWING_CONNECTIONS_MAX)
}

/// Opens a pool of one connection without limits on statements, for commands that a person waits
/// for. No service may use it.
pub fn connect_patiently(url: &str, name: &str) -> anyhow::Result<Pool> {
    let for_as_long = [("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];
    // For counts over whole tables: a nested loop would take for ever, and no plan needs one.
    let options = options(url, name)?.options(for_as_long).options([("enable_nestloop", "off")]);
    Ok(Pool::new(options, 1, PATIENT_WAIT))
}

fn options(url: &str, name: &str) -> anyhow::Result<PgConnectOptions> {
    let statement_ms = STATEMENT_MAX.as_millis().to_string();
    let options = PgConnectOptions::from_str(url)
        .context("DATABASE_URL cannot be read: postgres://user:password@host:port/database")?;
    Ok(options.application_name(name).options([
        ("statement_timeout", statement_ms.as_str()),
        ("lock_timeout", "3000"),
        ("client_min_messages", "error"),
        ("idle_in_transaction_session_timeout", statement_ms.as_str()),
        ("tcp_user_timeout", "10000"),
        ("client_connection_check_interval", "1000"),
    ]))
}

impl Pool {
    fn new(options: PgConnectOptions, connections_max: u32, statement_wait: Duration) -> Self {
        let connections = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_WAIT)
            .connect_lazy_with(options);
        let places = usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places));
        let server = Server { connections, breaker: Breaker::new(RULES), statement_wait };
        Self { server, places }
    }

    /// A connection that answers, or an error: after [`ACQUIRE_WAIT`] if the pool is full or the
    /// database silent, at once while the breaker is open.
    pub async fn acquire(&self) -> sqlx::Result<Connection> {
        let place = self.place().await?;
        let began = self.server.breaker.enter().map_err(not_asked)?;
        match self.server.connections.acquire().await {
            Ok(connection) => {
                self.server.answered();
                Ok(Connection::new(connection, place, self.server.clone()))
            }
            Err(error) => {
                self.server.observe(began, &error);
                Err(error)
            }
        }
    }

    /// A place in the pool. No call waits for one while the database is known to be away.
    async fn place(&self) -> sqlx::Result<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        self.server.breaker.ask().map_err(not_asked)?;
        let waited = timeout(ACQUIRE_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        waited.map_or_else(
            |_| {
                metrics::counter!("usher_database_pool_full_total").increment(1);
                Err(Error::PoolTimedOut)
            },
            |place| Ok(place.expect("never closed")),
        )
    }

    /// Begins a transaction. Dropped without a commit, it is rolled back.
    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        Transaction::begin(self.acquire().await?, "BEGIN").await
    }

    /// As [`begin`](Self::begin), but the commit does not wait for the disk: if the server crashes in
    /// the next moment, the transaction may not have happened. Only for what is then done again.
    pub async fn begin_async_commit(&self) -> sqlx::Result<Transaction> {
        let begin = "BEGIN; SET LOCAL synchronous_commit = off";
        Transaction::begin(self.acquire().await?, begin).await
    }

    /// Waits until every connection has come back, and closes them.
    pub async fn close(&self) {
        self.server.connections.close().await;
    }
}

/// Runs each statement on a connection of its own.
impl<'p> Executor<'p> for &Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let fetched = async move { pool.acquire().await?.fetch(query).await };
        Box::pin(fetched.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}

/// The URL of a database beside this one, with the same name plus a suffix. The database is made if
/// it is missing.
pub async fn beside(url: &str, suffix: &str) -> anyhow::Result<String> {
    let (head, parameters) = url.split_once('?').map_or((url, None), |(h, p)| (h, Some(p)));
    let (server, name) = head.rsplit_once('/').context("DATABASE_URL names no database")?;
    let name = format!("{name}{suffix}");
    let mut connection = sqlx::PgConnection::connect(url)
        .await
        .context("postgres does not answer: is DATABASE_URL right?")?;
    let quoted = name.replace('"', "\"\"");
    let made = connection.execute(AssertSqlSafe(format!("create database \"{quoted}\""))).await;
    if let Err(error) = made {
        let code = error.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
        if code.as_deref() != Some(DUPLICATE_DATABASE) {
            return Err(error).with_context(|| {
                format!("the database {name} cannot be made: may the role create databases?")
            });
        }
    }
    let parameters = parameters.map(|some| format!("?{some}")).unwrap_or_default();
    Ok(format!("{server}/{name}{parameters}"))
}

/// Runs database work to its end, even if the request that wanted it goes away: whether the work is
/// done must not depend on how long a client waits.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    #[expect(clippy::disallowed_methods, reason = "bounded by what its statements may take")]
    let task = tokio::spawn(work);
    match task.await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Whether the database answers, for `/readyz`.
pub async fn check(pool: Pool) -> Result<(), String> {
    let answer = sqlx::query!("select 1 as one").fetch_one(&pool).await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

fn not_asked(away: Away) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::NotConnected, away))
}
