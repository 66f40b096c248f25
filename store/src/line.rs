//! What of the line must survive the loss of Redis: how far its numbers may have gone, and its
//! epoch. Who was let in is in [`crate::admissions`].

use contract::ShowId;

use crate::{PgPool, StoreError, StoreResult};

/// A line, as Postgres remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMark {
    /// Counts the losses of Redis, from 1.
    pub epoch: u32,
    /// No number above it was ever handed out.
    pub high_water: u64,
}

/// The line's mark, where it was ever opened.
pub async fn find(pool: &PgPool, show: ShowId) -> StoreResult<Option<LineMark>> {
    let row = sqlx::query!("select epoch, high_water from lines where show_id = $1", show.0)
        .fetch_optional(pool)
        .await?;
    row.map(|row| mark(row.epoch, row.high_water)).transpose()
}

/// The line's mark; a line that was never opened starts with epoch 1 and no number reserved.
pub async fn find_or_open(pool: &PgPool, show: ShowId) -> StoreResult<LineMark> {
    let row = sqlx::query!(
        r#"with new as (
               insert into lines (show_id) values ($1) on conflict do nothing
               returning epoch, high_water)
           select epoch as "epoch!", high_water as "high_water!" from new
           union all
           select epoch, high_water from lines where show_id = $1"#,
        show.0
    )
    .fetch_optional(pool)
    .await?;
    match row {
        Some(row) => mark(row.epoch, row.high_water),
        // Somebody else opened it at this very moment.
        None => Ok(LineMark { epoch: 1, high_water: 0 }),
    }
}

/// Reserves the next `count` numbers of this epoch and returns the last of them; `None` where the
/// line has a newer epoch.
pub async fn reserve_numbers(
    pool: &PgPool,
    show: ShowId,
    epoch: u32,
    count: u32,
) -> StoreResult<Option<u64>> {
    let high_water = sqlx::query_scalar!(
        "update lines set high_water = high_water + $3
         where show_id = $1 and epoch = $2
         returning high_water",
        show.0,
        epoch.cast_signed(),
        i64::from(count),
    )
    .fetch_optional(pool)
    .await?;
    high_water.map(number).transpose()
}

/// Begins the epoch after `epoch`, unless somebody else did; `None` then. Its numbers start above
/// everything that may have been handed out, so no number is used twice.
pub async fn begin_epoch_after(
    pool: &PgPool,
    show: ShowId,
    epoch: u32,
) -> StoreResult<Option<LineMark>> {
    let row = sqlx::query!(
        "update lines set epoch = epoch + 1 where show_id = $1 and epoch = $2
         returning epoch, high_water",
        show.0,
        epoch.cast_signed(),
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| mark(row.epoch, row.high_water)).transpose()
}

fn mark(epoch: i32, high_water: i64) -> StoreResult<LineMark> {
    let epoch = u32::try_from(epoch)
        .map_err(|_| StoreError::Unreadable(format!("epoch {epoch} of a line")))?;
    Ok(LineMark { epoch, high_water: number(high_water)? })
}

fn number(stored: i64) -> StoreResult<u64> {
    u64::try_from(stored).map_err(|_| StoreError::Unreadable(format!("number {stored} of a line")))
}
