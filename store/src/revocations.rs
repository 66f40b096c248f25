//! Follows the accounts whose tokens were ended, so that every node refuses those tokens within a
//! second although it checks tokens offline.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::AccountId;
use platform::{
    Shutdown,
    access::{Revocation, Revocations},
};
use tokio::time::Instant;
use tracing::warn;

use crate::{Pool, StoreResult};

/// How often revocations are read. Every node knows a revocation after this time and two short
/// queries.
const REFRESH: Duration = Duration::from_millis(500);
/// Rows read by one query.
const PAGE: i64 = 1_000;

/// Reads the recent revocations, and reads on until the shutdown begins.
///
/// While the database cannot be read, tokens stay valid until they expire, and administrators are
/// refused ([`platform::access::BLIND_MAX`]).
pub async fn follow(pool: Pool, shutdown: &Shutdown) -> StoreResult<Revocations> {
    let revocations = Revocations::default();
    let mut from = read(&pool, &revocations, TransactionId(0)).await?;
    let (known, stop) = (revocations.clone(), shutdown.clone());
    shutdown.spawn_vital("revocations", async move {
        let mut is_blind = false;
        while stop.sleep(REFRESH).await {
            match read(&pool, &known, from).await {
                Ok(next) => {
                    from = next;
                    is_blind = false;
                }
                Err(error) => {
                    metrics::counter!("usher_revocations_read_failed_total").increment(1);
                    if !std::mem::replace(&mut is_blind, true) {
                        warn!("revocations cannot be read: {:#}", anyhow::Error::from(error));
                    }
                }
            }
        }
    });
    Ok(revocations)
}

/// Deletes revocations whose tokens have all expired, at most `rows_max`. Returns how many.
pub async fn forget_old(pool: &Pool, rows_max: i64) -> StoreResult<u64> {
    let gone = sqlx::query!(
        "delete from revocations where (xact, number) in (
             select xact, number from revocations
             where revoked_at < statement_timestamp() - interval '25 hours'
             limit $1)",
        rows_max,
    )
    .execute(pool)
    .await?;
    Ok(gone.rows_affected())
}

/// A transaction's number, as PostgreSQL counts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TransactionId(i64);

/// Reads the revocations of all transactions from `from` on. Returns the transaction to read from
/// the next time: the oldest that was still open, so that a late commit is not missed.
async fn read(pool: &Pool, known: &Revocations, from: TransactionId) -> StoreResult<TransactionId> {
    let began = Instant::now();
    let open = sqlx::query!(
        r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "xact!",
               clock_timestamp() as "now!""#
    )
    .fetch_one(pool)
    .await?;
    let next = TransactionId(open.xact);
    // A database that was restored from a backup counts from an older number: read from there.
    let mut after = (from.min(next), 0);
    loop {
        let rows = page(pool, after).await?;
        let is_last = i64::try_from(rows.len()) != Ok(PAGE);
        if let Some(last) = rows.last() {
            after = last.at;
        }
        let revocations: Vec<Revocation> = rows.into_iter().map(|row| row.revocation).collect();
        known.add(&revocations);
        if is_last {
            known.is_read(began, open.now);
            return Ok(next);
        }
    }
}

struct Row {
    at: (TransactionId, i64),
    revocation: Revocation,
}

async fn page(pool: &Pool, after: (TransactionId, i64)) -> StoreResult<Vec<Row>> {
    let (TransactionId(xact), number) = after;
    let rows = sqlx::query!(
        r#"select xact::text::bigint as "xact!", number, account_id, valid_from,
               revoked_at as "revoked_at: DateTime<Utc>"
           from revocations
           where (xact, number) > ($1::bigint::text::xid8, $2)
           order by xact, number
           limit $3"#,
        xact,
        number,
        PAGE,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Row {
            at: (TransactionId(row.xact), row.number),
            revocation: Revocation {
                account: AccountId(row.account_id),
                valid_from: row.valid_from,
                revoked_at: row.revoked_at,
            },
        })
        .collect())
}
