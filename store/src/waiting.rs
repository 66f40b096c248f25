//! Requests with words of a newer version, kept until an allocator of that version comes.

use chrono::{DateTime, Utc};
use contract::deadline::BOOKING_DEADLINE;

use crate::{Connection, Pool, StoreResult};

/// Most messages that wait. Further ones stay in their queue, and their partition waits with them.
pub const WAITING_MAX: i64 = 10_000;

/// A message that waits.
#[derive(Clone, Debug)]
pub struct WaitingMessage {
    pub id: i64,
    pub routing_key: String,
    pub body: Vec<u8>,
    /// Whether its deadlines are over, so that no version may allocate it.
    pub is_late: bool,
}

/// Sets a message aside until its deadline, which may be unknown and is never later than that of a
/// request accepted now. `false` if as many wait as may.
pub async fn set_aside(
    tx: &mut Connection,
    routing_key: &str,
    body: &[u8],
    why: &str,
    deadline: Option<DateTime<Utc>>,
) -> StoreResult<bool> {
    let inserted = sqlx::query!(
        "insert into waiting_messages (routing_key, body, why, deadline)
         select $1, $2, $3, least($4, clock_timestamp() + make_interval(secs => $6))
         where not exists (select from waiting_messages order by waiting_id offset $5 limit 1)",
        routing_key,
        body,
        why,
        deadline,
        WAITING_MAX - 1,
        BOOKING_DEADLINE.as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// How many messages wait.
pub async fn count(pool: &Pool) -> StoreResult<i64> {
    let n = sqlx::query_scalar!(r#"select count(*) as "n!" from waiting_messages"#);
    Ok(n.fetch_one(pool).await?)
}

/// Locks waiting messages after this one, oldest first; other callers skip them.
pub async fn locked(
    tx: &mut Connection,
    after: i64,
    limit: i64,
) -> StoreResult<Vec<WaitingMessage>> {
    let rows = sqlx::query_as!(
        WaitingMessage,
        r#"select waiting_id as id, routing_key, body,
               deadline < clock_timestamp() as "is_late!"
           from waiting_messages where waiting_id > $1
           order by waiting_id limit $2 for update skip locked"#,
        after,
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows)
}

/// Deletes messages that were passed on.
pub async fn forget(tx: &mut Connection, ids: &[i64]) -> StoreResult<()> {
    sqlx::query!("delete from waiting_messages where waiting_id = any($1)", ids)
        .execute(tx)
        .await?;
    Ok(())
}
