//! One-time links to set a password, which come by mail or from an operator. They are stored hashed,
//! and work once and for a limited time. A new password ends all links of its account.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{AccountId, keys::digest, mail::MailRequest};

use crate::{Pool, StoreResult, accounts, mails};

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

/// Makes a link that is sent by mail, unless no account has this address, in lower case, or too
/// many were asked for. Links that the account has go on working: a stranger may ask for this one.
pub async fn ask_by_mail(pool: &Pool, email: &str, mail: &MailRequest) -> StoreResult<()> {
    let mut tx = pool.begin().await?;
    let account = sqlx::query_scalar!(
        "select account_id from accounts where lower(email) = $1 for no key update",
        email
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(account) = account.map(AccountId) else { return Ok(()) };
    if mails::wait_in(&mut tx, account, mail.kind).await?.is_some() {
        return Ok(());
    }
    sqlx::query!(
        "insert into password_links (token_hash, account_id, expires_at)
         values ($1, $2, clock_timestamp() + make_interval(secs => $3))",
        mail.token_hash.as_slice(),
        account.0,
        mails::lifetime(mail.kind).as_secs_f64(),
    )
    .execute(&mut *tx)
    .await?;
    mails::ask_in(&mut tx, account, Some(mail)).await?;
    tx.commit().await?;
    Ok(())
}

/// Uses a link: its account gets this password, the account's sessions and tokens end, and
/// a mail is asked for. `None` if the link was used, has expired, or never existed.
pub async fn redeem(
    pool: &Pool,
    token: &str,
    password_hash: &str,
    mail: Option<&MailRequest>,
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
    mails::ask_in(&mut tx, account, mail).await?;
    tx.commit().await?;
    Ok(Some(account))
}
