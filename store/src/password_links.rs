//! One-time links, which an operator gives to a person who is to set a password. They are stored
//! hashed, and work once and for a limited time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{AccountId, keys::digest};

use crate::{Pool, StoreResult, accounts};

/// Makes the link of an account; an earlier link no longer works.
pub async fn make(
    pool: &Pool,
    account: AccountId,
    token: &str,
    lifetime: Duration,
) -> StoreResult<DateTime<Utc>> {
    let hash = digest(token.as_bytes());
    let mut tx = pool.begin().await?;
    sqlx::query!("delete from password_links where account_id = $1", account.0)
        .execute(&mut *tx)
        .await?;
    let expires_at = sqlx::query_scalar!(
        "insert into password_links (token_hash, account_id, expires_at)
         values ($1, $2, clock_timestamp() + make_interval(secs => $3))
         returning expires_at",
        hash.as_slice(),
        account.0,
        lifetime.as_secs_f64(),
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(expires_at)
}

/// Whether a link works, asked before a password is hashed for it.
pub async fn is_good(pool: &Pool, token: &str) -> StoreResult<bool> {
    let hash = digest(token.as_bytes());
    let found = sqlx::query_scalar!(
        "select account_id from password_links
         where token_hash = $1 and expires_at > clock_timestamp()",
        hash.as_slice(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(found.is_some())
}

/// Uses a link: its account gets this password, and the account's sessions and tokens end. `None`
/// if the link was used, has expired, or never existed.
pub async fn redeem(
    pool: &Pool,
    token: &str,
    password_hash: &str,
) -> StoreResult<Option<AccountId>> {
    let hash = digest(token.as_bytes());
    let mut tx = pool.begin().await?;
    let account = sqlx::query_scalar!(
        "delete from password_links
         where token_hash = $1 and expires_at > clock_timestamp()
         returning account_id",
        hash.as_slice(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(account) = account.map(AccountId) else { return Ok(None) };
    accounts::set_password_in(&mut tx, account, password_hash).await?;
    tx.commit().await?;
    Ok(Some(account))
}
