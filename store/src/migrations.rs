//! Brings the schema up to date while tickets are sold.
//!
//! Migrations run one after the other on a connection of their own, without the pool's time-outs:
//! building an index may take hours. A change that needs a strong lock waits for it only a moment
//! at a time, because all other statements wait behind it. One process migrates at a time; others
//! wait for their turn.

mod online;
mod turn;
mod index;
mod patience;

use std::{str::FromStr as _, time::Duration};

use anyhow::{Context as _, bail};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection,
    migrate::{AppliedMigration, Migrate as _, Migration, Migrator},
    postgres::PgConnectOptions,
};
use tokio::time::Instant;

use patience::{PATIENCE, TELL_EVERY, set};

/// Every change of the schema, embedded.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Longest wait for a strong lock; sales that need the table wait behind it for as long.
const LOCK_WAIT: Duration = Duration::from_millis(400);
/// Pause after the first try, in which the waiting statements run; it doubles with each try, so that
/// a transaction that stays open does not make sales wait all the time.
const BETWEEN_TRIES: Duration = Duration::from_millis(600);
/// A table that is free may be noticed this much later.
const BETWEEN_TRIES_MAX: Duration = Duration::from_secs(5);

/// Applies the missing migrations; of several processes that try, one does it. Migrations of a
/// newer version are left alone. `tell` gets a text for what is done and what is waited for.
pub async fn migrate(url: &str, tell: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    let options = options(url)?;
    let mut connection = PgConnection::connect_with(&options).await?;
    turn::take(&mut connection, tell).await?;
    let mut watcher = PgConnection::connect_with(&options).await?;
    connection.ensure_migrations_table(&MIGRATIONS.table_name).await?;
    let applied = connection.list_applied_migrations(&MIGRATIONS.table_name).await?;
    tell_newer(&applied, tell);
    for migration in MIGRATIONS.iter() {
        match applied.iter().find(|applied| applied.version == migration.version) {
            Some(applied) if applied.checksum == migration.checksum => continue,
            Some(_) => bail!("migration {} is not the one that was applied", migration.version),
            None => {}
        }
        let name = format!("{:04} {}", migration.version, migration.description);
        tell(&format!("{name}: begins"));
        let began = Instant::now();
        apply(&mut connection, &mut watcher, migration, tell)
            .await
            .with_context(|| format!("migration {name}"))?;
        tell(&format!("{name}: done in {:.1} s", began.elapsed().as_secs_f64()));
    }
    // The turn ends with the connection.
    watcher.close().await?;
    Ok(connection.close().await?)
}

fn options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url)
        .context("DATABASE_URL cannot be read: postgres://user:password@host:port/database")?;
    // Set explicitly: the database or the role may have limits of their own.
    let unlimited = [("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];
    Ok(options.application_name("migrate").options(unlimited))
}

fn tell_newer(applied: &[AppliedMigration], tell: &(dyn Fn(&str) + Sync)) {
    let newer = applied.iter().filter(|applied| !MIGRATIONS.version_exists(applied.version));
    let newer: Vec<String> = newer.map(|applied| applied.version.to_string()).collect();
    if !newer.is_empty() {
        let newer = newer.join(", ");
        tell(&format!("the schema is newer than this program, and stays so: it has {newer}"));
    }
}

async fn apply(
    connection: &mut PgConnection,
    watcher: &mut PgConnection,
    migration: &Migration,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    if let Some(steps) = online::steps(migration.version) {
        for step in steps {
            if index::is_concurrent(step) {
                index::build(connection, watcher, step, tell).await?;
            } else {
                patiently(connection, watcher, Change::Statement(step), tell).await?;
            }
        }
        connection.skip(&MIGRATIONS.table_name, migration).await?;
        return Ok(());
    }
    if migration.no_tx {
        index::build(connection, watcher, migration.sql.as_str(), tell).await?;
        connection.skip(&MIGRATIONS.table_name, migration).await?;
        return Ok(());
    }
    patiently(connection, watcher, Change::Migration(migration), tell).await
}

/// A change that may need a strong lock, done as a whole or not at all.
#[derive(Clone, Copy)]
enum Change<'m> {
    Statement(&'m str),
    Migration(&'m Migration),
}

/// Tries a change, for a moment each time, until it gets the locks. Where sales lock the same tables
/// in another order, PostgreSQL may end this transaction to break the deadlock.
async fn patiently(
    connection: &mut PgConnection,
    watcher: &mut PgConnection,
    change: Change<'_>,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    set(connection, "lock_timeout", LOCK_WAIT).await?;
    let (began, mut told) = (Instant::now(), None::<Instant>);
    let mut pause = BETWEEN_TRIES;
    loop {
        let done = match change {
            Change::Statement(sql) => {
                connection.execute(AssertSqlSafe(sql)).await.map(|_| ()).map_err(Into::into)
            }
            Change::Migration(migration) => {
                connection.apply(&MIGRATIONS.table_name, migration).await.map(|_| ())
            }
        };
        let Err(error) = done else { return Ok(()) };
        let error = anyhow::Error::from(error);
        if !is_contended(&error) {
            return Err(error);
        }
        let holders = turn::oldest_transactions(watcher).await?;
        if began.elapsed() > PATIENCE {
            return Err(error.context(format!("no lock in {PATIENCE:?}; open: {holders}")));
        }
        if told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
            tell(&format!("waits for transactions that use the table; open: {holders}"));
            told = Some(Instant::now());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BETWEEN_TRIES_MAX);
    }
}

fn is_contended(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(crate::error::is_contended)
}
