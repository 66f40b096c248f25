//! Writes that a client may send again: the key and the answer are written in the transaction of
//! the effect.

use contract::AccountId;
use serde_json::Value;

use crate::{Connection, Pool, StoreResult};

/// What is known of a keyed write.
#[derive(Debug)]
pub enum Attempt {
    /// The write has not been done: do it, then call [`finish`].
    First,
    /// The write was done, and this was the answer.
    Repeated(Value),
    /// The key belongs to another request.
    KeyReused,
}

/// Claims the key for this transaction; must be its first statement. Another request with the same
/// key waits here until this transaction has ended.
pub async fn begin(
    tx: &mut Connection,
    account: AccountId,
    key: &str,
    fingerprint: &[u8],
) -> StoreResult<Attempt> {
    let claimed = sqlx::query!(
        "insert into idempotent_answers (account_id, idempotency_key, fingerprint, status, body)
         values ($1, $2, $3, 0, 'null')
         on conflict do nothing",
        account.0,
        key,
        fingerprint,
    )
    .execute(&mut *tx)
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(Attempt::First);
    }
    let known = sqlx::query!(
        "select fingerprint, body from idempotent_answers
         where account_id = $1 and idempotency_key = $2",
        account.0,
        key,
    )
    .fetch_one(&mut *tx)
    .await?;
    if known.fingerprint == fingerprint {
        Ok(Attempt::Repeated(known.body))
    } else {
        Ok(Attempt::KeyReused)
    }
}

/// Keeps the answer under the key that [`begin`] claimed.
pub async fn finish(
    tx: &mut Connection,
    account: AccountId,
    key: &str,
    status: u16,
    body: &Value,
) -> StoreResult<()> {
    sqlx::query!(
        "update idempotent_answers set status = $3, body = $4
         where account_id = $1 and idempotency_key = $2",
        account.0,
        key,
        status.cast_signed(),
        body,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets answers older than a day, at most `limit` of them; returns how many.
pub async fn forget_old(pool: &Pool, limit: i64) -> StoreResult<u64> {
    let gone = sqlx::query!(
        "delete from idempotent_answers where (account_id, idempotency_key) in (
             select account_id, idempotency_key from idempotent_answers
             where created_at < statement_timestamp() - interval '1 day'
             limit $1)",
        limit
    )
    .execute(pool)
    .await?;
    Ok(gone.rows_affected())
}
