//! Builds indexes while tickets are sold: nothing waits for an index, and it may take hours.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tokio::time::Instant;

use super::{
    patience::{TELL_EVERY, set},
    turn,
};

const BEGINNING: &str = "create index concurrently if not exists ";
const BEGINNING_UNIQUE: &str = "create unique index concurrently if not exists ";

/// Whether the statement builds an index concurrently, in the only form allowed here, which can be
/// run again.
pub(super) fn is_concurrent(sql: &str) -> bool {
    name(sql).is_some()
}

/// The name of the index that the statement builds; comments may come before it.
fn name(sql: &str) -> Option<String> {
    let lines = sql.lines().map(str::trim).filter(|line| !line.starts_with("--"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let statement = words.join(" ");
    let rest = [BEGINNING, BEGINNING_UNIQUE]
        .iter()
        .find_map(|beginning| statement.strip_prefix(beginning))?;
    let name = rest.split(' ').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Builds an index, and tells how far it is. An index that an interrupted run left half built is
/// built anew.
pub(super) async fn build(
    connection: &mut PgConnection,
    watcher: &mut PgConnection,
    sql: &str,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    let name = name(sql).with_context(|| {
        format!("outside of a transaction only `{BEGINNING}…` may run, one in each file")
    })?;
    // The build waits for every transaction that began before, and nothing waits for the build.
    set(connection, "lock_timeout", Duration::ZERO).await?;
    drop_half_built(connection, &name, tell).await?;
    let mut building = std::pin::pin!(connection.execute(AssertSqlSafe(sql)));
    let began = Instant::now();
    loop {
        if let Ok(built) = tokio::time::timeout(TELL_EVERY, building.as_mut()).await {
            built?;
            return Ok(());
        }
        let far = progress(watcher).await?;
        tell(&format!("{name}: {} s, {far}", began.elapsed().as_secs()));
    }
}

async fn drop_half_built(
    connection: &mut PgConnection,
    name: &str,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    let is_half_built: bool = sqlx::query_scalar(
        "select exists (select from pg_index i join pg_class c on c.oid = i.indexrelid
                        where c.oid = to_regclass($1) and not i.indisvalid)",
    )
    .bind(name)
    .fetch_one(&mut *connection)
    .await?;
    if is_half_built {
        tell(&format!("{name} was left half built, and is built anew"));
        let drop = format!("drop index concurrently if exists {name}");
        connection.execute(AssertSqlSafe(drop)).await?;
    }
    Ok(())
}

async fn progress(watcher: &mut PgConnection) -> anyhow::Result<String> {
    let far: Option<String> = sqlx::query_scalar(
        "select case
             when lockers_total > lockers_done
                 then format('%s of %s transactions to wait for', lockers_total - lockers_done,
                             lockers_total)
             when blocks_total > 0
                 then format('%s: %s %%', phase, 100 * blocks_done / blocks_total)
             else phase end
         from pg_stat_progress_create_index where datname = current_database() limit 1",
    )
    .fetch_optional(&mut *watcher)
    .await?;
    let far = far.unwrap_or_else(|| "about to begin".to_owned());
    if far.contains("transactions to wait for") {
        return Ok(format!("{far}; open: {}", turn::oldest_transactions(watcher).await?));
    }
    Ok(far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_built_beside_the_sale_only_by_a_statement_that_can_be_run_again() {
        let good = "-- no-transaction\n-- why\ncreate index concurrently if not exists a_by_b\n    on a (b);";
        assert_eq!(name(good).as_deref(), Some("a_by_b"));
        let unique = "create unique index concurrently if not exists a_once on a (b)";
        assert_eq!(name(unique).as_deref(), Some("a_once"));
        for sql in ["create index concurrently a_by_b on a (b)", "create index a on a (b)", ""] {
            assert!(!is_concurrent(sql), "{sql}");
        }
    }
}
