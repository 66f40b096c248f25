//! Which process may migrate, and which transactions are in its way.

use std::time::Duration;

use anyhow::bail;
use sqlx::PgConnection;
use tokio::time::Instant;

use super::patience::{PATIENCE, TELL_EVERY};

/// Advisory lock of the process that migrates this database.
const TURN: i64 = 0x7573_6865_725f_6d69;
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Waits for the turn and takes it. The turn ends with the connection.
pub(super) async fn take(
    connection: &mut PgConnection,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    let (began, mut told) = (Instant::now(), None::<Instant>);
    loop {
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(TURN)
            .fetch_one(&mut *connection)
            .await?;
        if taken {
            return Ok(());
        }
        let holder: Option<String> = sqlx::query_scalar(
            "select format('%s (pid %s, from %s, since %s)', coalesce(a.application_name, '?'),
                 l.pid, coalesce(host(a.client_addr), 'this host'), a.backend_start)
             from pg_locks l left join pg_stat_activity a using (pid)
             where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                 and l.database = (select oid from pg_database where datname = current_database())
                 and (l.classid::bigint << 32) | l.objid::bigint = $1
             limit 1",
        )
        .bind(TURN)
        .fetch_optional(&mut *connection)
        .await?;
        let holder = holder.as_deref().unwrap_or("it has just ended");
        if began.elapsed() > PATIENCE {
            bail!("another process has been migrating for {PATIENCE:?}: {holder}");
        }
        if told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
            tell(&format!("waiting for another process that is migrating: {holder}"));
            told = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The transactions that have been open longest.
pub(super) async fn oldest_transactions(watcher: &mut PgConnection) -> sqlx::Result<String> {
    let oldest: Vec<String> = sqlx::query_scalar(
        "select format('%s (pid %s, %s for %s s)', application_name, pid, state,
             round(extract(epoch from clock_timestamp() - xact_start)))
         from pg_stat_activity
         where datname = current_database() and xact_start is not null
             and pid <> pg_backend_pid()
         order by xact_start limit 3",
    )
    .fetch_all(watcher)
    .await?;
    Ok(if oldest.is_empty() { "none".to_owned() } else { oldest.join(", ") })
}
