//! A session that locks rows in the opposite order to Usher's: accounts first, then the partition.
//! A batch that has the partition and waits for an account then ends in a deadlock.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use crate::{arena::Arena, sale::Hall};

/// How long it tries: not every batch waits for an account.
const LASTS: Duration = Duration::from_secs(6);
/// How long the accounts are held; shorter than the waits of others, which must not fail.
const HOLDS: Duration = Duration::from_millis(400);

/// Provokes deadlocks in the `n`th hall of a run.
pub async fn provoke(arena: &Arena, halls: &[Hall], n: usize) -> anyhow::Result<()> {
    let Some(hall) = halls.get(n % halls.len().max(1)) else { return Ok(()) };
    let mut session = PgConnection::connect(arena.postgres_url()?).await?;
    let until = Instant::now() + LASTS;
    while Instant::now() < until {
        let mut tx = session.begin().await?;
        // A deadlock may end either transaction, which is the purpose.
        let _ = cross(&mut tx, hall).await;
        tx.rollback().await?;
    }
    Ok(session.close().await?)
}

async fn cross(tx: &mut PgConnection, hall: &Hall) -> Result<(), sqlx::Error> {
    let accounts = "select from account_quotas where show_id = $1 for update";
    sqlx::query(accounts).bind(hall.show.0).execute(&mut *tx).await?;
    let until = Instant::now() + HOLDS;
    // Not `pg_stat_activity`: a transaction sees its sessions as they were at the first look.
    let blocked = "select exists (select from pg_locks
                                  where not granted
                                      and pg_backend_pid() = any(pg_blocking_pids(pid)))";
    while !sqlx::query_scalar::<_, bool>(blocked).fetch_one(&mut *tx).await? {
        if Instant::now() > until {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Others that wait began before this session, so they are the first to look for a deadlock.
    let partitions = "select from partitions where show_id = $1 order by tier for no key update";
    sqlx::query(partitions).bind(hall.show.0).execute(tx).await?;
    Ok(())
}
