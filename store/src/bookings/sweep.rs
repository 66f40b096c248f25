//! The sweep: ends bookings whose time is over.

use contract::{AccountId, BookingId, ShowId, booking::Ending, topology::Partition};
use platform::faults::failpoint;

use super::end::{Ended, end};
use crate::{Connection, Pool, StoreResult, error::readable, partitions};

/// All partitions that have bookings whose time is over. There is no limit, so that partitions that
/// cannot be swept do not hide others. The clock is read once, so that the query can use an index.
pub async fn partitions_with_due(pool: &Pool) -> StoreResult<Vec<Partition>> {
    let rows = sqlx::query!(
        "select distinct show_id, tier from bookings
         where state in ('HELD', 'PAYMENT_PENDING')
           and expires_at <= (select clock_timestamp())"
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| Ok(Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? }))
        .collect()
}

/// Live bookings of a partition whose time is over. The clock is read once, too.
pub async fn due(
    tx: &mut Connection,
    partition: &Partition,
) -> StoreResult<Vec<(BookingId, AccountId)>> {
    let rows = sqlx::query!(
        "select booking_id, account_id from bookings
         where show_id = $1 and tier = $2 and state in ('HELD', 'PAYMENT_PENDING')
           and expires_at <= (select clock_timestamp())
         order by expires_at limit 1000",
        partition.show.0,
        partition.tier.as_str(),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|r| (BookingId(r.booking_id), AccountId(r.account_id))).collect())
}

/// Ends what is due in a partition, in a transaction of its own. It waits for locks only for a
/// moment: a partition in use is swept the next time, or by the batch that uses it.
pub async fn sweep(pool: &Pool, partition: &Partition) -> StoreResult<Vec<Ended>> {
    let mut tx = pool.begin().await?;
    sqlx::query("set local lock_timeout = 200").execute(&mut *tx).await?;
    partitions::lock(&mut tx, partition, None).await?;
    let due = due(&mut tx, partition).await?;
    let ended = end(&mut tx, partition, &due, Ending::Lapsed).await?;
    failpoint("mid-lapse");
    tx.commit().await?;
    Ok(ended)
}
