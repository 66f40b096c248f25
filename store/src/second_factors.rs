//! Second factors: the secret of an account's authenticator app, and its recovery codes. Secrets
//! come sealed and codes as keyed hashes.

use contract::AccountId;

use crate::{
    Pool, StoreResult, accounts,
    sessions::{self, SignInSession, Start},
};

/// An account's second factor.
pub struct SecondFactor {
    pub sealed_secret: Vec<u8>,
    /// Whether a sign-in needs it: its owner has shown a first code.
    pub is_confirmed: bool,
}

/// Stores a secret that its owner has yet to confirm, in place of an earlier one of that kind.
/// Returns whether it was stored: a confirmed secret stays.
pub async fn prepare(pool: &Pool, account: AccountId, sealed_secret: &[u8]) -> StoreResult<bool> {
    let stored = sqlx::query!(
        "insert into second_factors (account_id, sealed_secret)
         select account_id, $2 from accounts where account_id = $1
         on conflict (account_id) do update
             set sealed_secret = excluded.sealed_secret, made_at = clock_timestamp()
             where second_factors.confirmed_at is null",
        account.0,
        sealed_secret,
    )
    .execute(pool)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Finds the second factor of an account.
pub async fn find(pool: &Pool, account: AccountId) -> StoreResult<Option<SecondFactor>> {
    let row = sqlx::query_as!(
        SecondFactor,
        r#"select sealed_secret, confirmed_at is not null as "is_confirmed!"
           from second_factors where account_id = $1"#,
        account.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row)
}

/// Whether a sign-in to the account needs a second factor.
pub async fn is_confirmed(pool: &Pool, account: AccountId) -> StoreResult<bool> {
    Ok(find(pool, account).await?.is_some_and(|factor| factor.is_confirmed))
}

/// Confirms a secret with the code of this step. Every session and token of the account ends, since
/// they began without it, and a new session begins. `None` if the secret is confirmed already or
/// was replaced.
pub async fn confirm(
    pool: &Pool,
    account: AccountId,
    (sealed_secret, step): (&[u8], i64),
    code_macs: &[Vec<u8>],
    start: &Start,
) -> StoreResult<Option<SignInSession>> {
    let mut tx = pool.begin().await?;
    let confirmed = sqlx::query!(
        "update second_factors set confirmed_at = clock_timestamp(), last_step = $3
         where account_id = $1 and sealed_secret = $2 and confirmed_at is null",
        account.0,
        sealed_secret,
        step,
    )
    .execute(&mut *tx)
    .await?;
    if confirmed.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!(
        "insert into recovery_codes (account_id, code_mac) select $1::uuid, unnest($2::bytea[])",
        account.0,
        code_macs,
    )
    .execute(&mut *tx)
    .await?;
    let Some(known) = accounts::end_tokens_in(&mut tx, account).await? else { return Ok(None) };
    let session = sessions::begin_in(&mut tx, known, start).await?;
    tx.commit().await?;
    Ok(Some(session))
}

/// Uses the code of this step. Returns whether it is good: no code of this or a later step was used
/// before.
pub async fn use_code(
    pool: &Pool,
    account: AccountId,
    sealed_secret: &[u8],
    step: i64,
) -> StoreResult<bool> {
    let used = sqlx::query!(
        "update second_factors set last_step = $3
         where account_id = $1 and sealed_secret = $2 and confirmed_at is not null
             and last_step < $3",
        account.0,
        sealed_secret,
        step,
    )
    .execute(pool)
    .await?;
    Ok(used.rows_affected() == 1)
}

/// Uses a recovery code. Returns whether it is good, which it is once.
pub async fn use_recovery_code(
    pool: &Pool,
    account: AccountId,
    code_mac: &[u8],
) -> StoreResult<bool> {
    let used = sqlx::query!(
        "delete from recovery_codes where account_id = $1 and code_mac = $2",
        account.0,
        code_mac,
    )
    .execute(pool)
    .await?;
    Ok(used.rows_affected() == 1)
}

/// Removes the second factor of an account and its recovery codes. Returns whether it had one.
pub async fn remove(pool: &Pool, account: AccountId) -> StoreResult<bool> {
    let gone = sqlx::query!("delete from second_factors where account_id = $1", account.0)
        .execute(pool)
        .await?;
    Ok(gone.rows_affected() == 1)
}
