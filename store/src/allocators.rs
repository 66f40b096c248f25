//! Which allocators are alive, by their heartbeats on the database's clock.

use chrono::{DateTime, Utc};
use contract::deadline::ALLOCATOR_DEAD_AFTER;
use uuid::Uuid;

use crate::{Pool, StoreResult};

/// Writes this allocator's heartbeat, which does not say that it has looked at its queues.
pub async fn beat(pool: &Pool, me: Uuid, name: &str) -> StoreResult<()> {
    sqlx::query!(
        "insert into allocators (allocator_id, name, writes_numbers, recorded_at)
         values ($1, $2, true, '-infinity')
         on conflict (allocator_id) do update set heartbeat_at = clock_timestamp()",
        me,
        name,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// All allocators that are alive. A heartbeat far in the future was written before the clock was
/// set back and does not count; a live allocator writes the next within a second.
pub async fn live(pool: &Pool) -> StoreResult<Vec<Uuid>> {
    let live = sqlx::query_scalar!(
        "select allocator_id from allocators
         where heartbeat_at > clock_timestamp() - make_interval(secs => $1)
           and heartbeat_at < clock_timestamp() + make_interval(secs => $1)
         order by allocator_id",
        ALLOCATOR_DEAD_AFTER.as_secs_f64(),
    )
    .fetch_all(pool)
    .await?;
    Ok(live)
}

/// Whether every allocator with a heartbeat in the last minute writes the numbers that it decides;
/// versions before numbers do not. The time is Postgres's, of this answer.
pub async fn write_numbers(pool: &Pool) -> StoreResult<(bool, DateTime<Utc>)> {
    let row = sqlx::query!(
        r#"select coalesce(bool_and(writes_numbers), true) as "all!",
               statement_timestamp() as "now!"
           from allocators
           where heartbeat_at > clock_timestamp() - interval '1 minute'"#
    )
    .fetch_one(pool)
    .await?;
    Ok((row.all, row.now))
}

/// Removes this allocator, and those that have been silent for an hour.
pub async fn leave(pool: &Pool, me: Uuid) -> StoreResult<()> {
    sqlx::query!(
        "delete from allocators
         where allocator_id = $1 or heartbeat_at < clock_timestamp() - interval '1 hour'",
        me
    )
    .execute(pool)
    .await?;
    Ok(())
}
