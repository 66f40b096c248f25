//! The connection pool, with sqlx's trap closed, and migrations.

use std::{borrow::Cow, future::Future, str::FromStr as _, time::Duration};

use anyhow::Context as _;
use contract::deadline::STATEMENT_MAX;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// Every change of the schema, embedded.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

const ACQUIRE_WAIT: Duration = Duration::from_secs(3);
/// PostgreSQL's code for a database that is there.
const DUPLICATE_DATABASE: &str = "42P04";

/// Opens a pool. Nothing is connected before it is used, so a database that is away delays
/// nobody's start.
pub fn connect(url: &str, name: &str, connections_max: u32) -> anyhow::Result<PgPool> {
    let statement_ms = STATEMENT_MAX.as_millis().to_string();
    let options = PgConnectOptions::from_str(url)
        .context("DATABASE_URL cannot be read: postgres://user:password@host:port/database")?
        .application_name(name)
        .options([
            ("statement_timeout", statement_ms.as_str()),
            ("lock_timeout", "3000"),
            // The rollback below mostly finds nothing to roll back; that is no news.
            ("client_min_messages", "error"),
            ("idle_in_transaction_session_timeout", statement_ms.as_str()),
            ("tcp_user_timeout", "10000"),
            ("client_connection_check_interval", "1000"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_WAIT)
        .after_release(|connection, _| {
            Box::pin(async move {
                // A `begin` that was cancelled leaves its transaction open in the pool, and the
                // next user's writes would be lost with it. Begun first, because a rollback of
                // nothing is worth a warning in the server's log.
                connection.execute("begin; rollback").await?;
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// The URL of a database beside this one, of the same name with a suffix. It is made where it is
/// missing.
pub async fn beside(url: &str, suffix: &str) -> anyhow::Result<String> {
    let (head, parameters) = url.split_once('?').map_or((url, None), |(h, p)| (h, Some(p)));
    let (server, name) = head.rsplit_once('/').context("DATABASE_URL names no database")?;
    let name = format!("{name}{suffix}");
    let mut connection = PgConnection::connect(url)
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

/// Runs database work to its end, even when the request that wanted it goes away: a future that
/// is dropped half way through a transaction leaves its connection in doubt.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    #[expect(clippy::disallowed_methods, reason = "bounded by the statement timeout")]
    let task = tokio::spawn(work);
    match task.await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Whether the database answers, for `/readyz`.
pub async fn check(pool: PgPool) -> Result<(), String> {
    let answer = sqlx::query!("select 1 as one").fetch_one(&pool).await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}
