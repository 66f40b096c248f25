//! A connection of the pool, with a limit on every wait, and a transaction on it.

use std::{
    future::Future,
    io,
    ops::{Deref, DerefMut},
    time::Duration,
};

use futures_util::{
    StreamExt as _, TryFutureExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Either, Error, Execute, Executor, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::{
    runtime::Handle,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use crate::server::Server;

/// Longest time for a connection to return to the pool.
const RETURN_WAIT: Duration = Duration::from_secs(3);

/// A connection to the database. When it is dropped, it goes back to the pool, or is closed if it
/// is broken.
#[derive(Debug)]
pub struct Connection {
    /// Taken when dropped.
    live: Option<PoolConnection<Postgres>>,
    /// The place in the pool, given back after the connection.
    place: Option<OwnedSemaphorePermit>,
    server: Server,
    in_transaction: bool,
    is_broken: bool,
}

impl Connection {
    pub(crate) fn new(
        live: PoolConnection<Postgres>,
        place: OwnedSemaphorePermit,
        server: Server,
    ) -> Self {
        let (live, place) = (Some(live), Some(place));
        Self { live, place, server, in_transaction: false, is_broken: false }
    }

    /// Runs a statement and collects everything it returns.
    pub(crate) async fn fetch<'q, E>(
        &mut self,
        query: E,
    ) -> sqlx::Result<BoxStream<'static, sqlx::Result<Either<PgQueryResult, PgRow>>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let fetched: Vec<_> = self.wait(|live| live.fetch_many(query).try_collect()).await?;
        Ok(stream::iter(fetched.into_iter().map(Ok)).boxed())
    }

    /// Waits for the answer to a statement, for at most `statement_wait`.
    async fn wait<'c, T, Fut>(
        &'c mut self,
        call: impl FnOnce(&'c mut sqlx::PgConnection) -> Fut,
    ) -> sqlx::Result<T>
    where
        Fut: Future<Output = sqlx::Result<T>>,
    {
        let began = Instant::now();
        let live = self.live.as_mut().expect("taken when dropped, not before");
        let answer = timeout(self.server.statement_wait, call(live)).await.unwrap_or_else(|_| {
            Err(Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer to a statement")))
        });
        match &answer {
            Ok(_) => self.server.answered(),
            Err(error) => self.is_broken |= self.server.observe(began, error),
        }
        answer
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        match Handle::try_current() {
            // Not spawned through the shutdown: the task ends in a moment, and nothing has to wait
            // for it.
            Ok(runtime) if !self.is_broken => {
                let (place, in_transaction) = (self.place.take(), self.in_transaction);
                _ = runtime.spawn(async move {
                    give_back(live, in_transaction).await;
                    drop(place);
                });
            }
            _ => drop(live.detach()),
        }
    }
}

/// Ends a statement or transaction that the last user left open, so that the next user does not
/// inherit it. If that fails, the connection is closed.
async fn give_back(mut live: PoolConnection<Postgres>, in_transaction: bool) {
    if in_transaction {
        let rolled_back = timeout(RETURN_WAIT, live.execute("ROLLBACK")).await;
        if !matches!(rolled_back, Ok(Ok(_))) {
            drop(live.detach());
            return;
        }
    }
    // Dropping the connection would wait without a limit, and its place in the pool would be lost.
    let _ = timeout(RETURN_WAIT, live.return_to_pool()).await;
}

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(self.fetch(query).try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(self.wait(|live| live.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        Box::pin(self.wait(|live| live.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'c: 'e,
    {
        Box::pin(self.wait(|live| live.describe(sql)))
    }
}

/// A transaction. Dropped without a commit, it is rolled back. A commit that fails without an
/// answer from the database may have happened.
#[derive(Debug)]
pub struct Transaction(Connection);

impl Transaction {
    pub(crate) async fn begin(
        mut connection: Connection,
        begin: &'static str,
    ) -> sqlx::Result<Self> {
        // Set before `BEGIN` is sent: a caller that goes away half way must not leave the
        // transaction to the next user.
        connection.in_transaction = true;
        connection.execute(begin).await?;
        Ok(Self(connection))
    }

    /// Commits the transaction.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.0.execute("COMMIT").await?;
        self.0.in_transaction = false;
        Ok(())
    }

    /// Rolls the transaction back, and returns when that is done.
    pub async fn rollback(mut self) -> sqlx::Result<()> {
        self.0.execute("ROLLBACK").await?;
        self.0.in_transaction = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
