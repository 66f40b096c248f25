//! The sweep: bookings whose time is over end in the tables, too.

use contract::{ShowId, booking::Ending, topology::Partition};
use platform::faults::failpoint;

use crate::{
    PgConnection, PgPool, StoreResult,
    bookings::{self, Ended},
    error::readable,
    partitions,
};

/// Partitions that have bookings whose time is over. All of them: one that cannot be swept keeps
/// what it has, and must not hide the others. The clock is read once, so that an index leads there.
pub async fn partitions_with_due(pool: &PgPool) -> StoreResult<Vec<Partition>> {
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

/// Ends what is due in a partition that the caller has locked.
pub async fn lapse_due(tx: &mut PgConnection, partition: &Partition) -> StoreResult<Vec<Ended>> {
    let due = bookings::due(tx, partition).await?;
    bookings::end(tx, partition, &due, Ending::Lapsed).await
}

/// Ends what is due in a partition, in a transaction of its own.
pub async fn sweep(pool: &PgPool, partition: &Partition) -> StoreResult<Vec<Ended>> {
    let mut tx = pool.begin().await?;
    partitions::lock(&mut tx, partition, None).await?;
    let ended = lapse_due(&mut tx, partition).await?;
    failpoint("mid-lapse");
    tx.commit().await?;
    Ok(ended)
}
