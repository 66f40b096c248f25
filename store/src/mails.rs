//! Mails: asked for in the transaction that causes them, sent by the notifier. A mail ends once, as
//! sent or as failed; what failed stays for a month, for an operator to look at.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{
    AccountId, MailId,
    api::accounts::User,
    keys::digest,
    mail::{MailKind, MailRequest},
};

use crate::{Connection, Pool, StoreResult, accounts};

/// Mails of one kind that an account may ask for in a day, and the time between two. After them one more
/// in half of the life of its link: whoever asks in a stranger's name uses up nothing, because a link
/// that still works is in the owner's mailbox then.
pub const ASKED_PER_DAY_MAX: i64 = 5;
pub const ASKED_EVERY: Duration = Duration::from_mins(1);
/// Most attempts to send a mail.
const ATTEMPTS_MAX: i32 = 20;
/// The wait after the first attempt, three times as long after each, at most …
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(30);
/// How long whoever claimed a mail has to send it.
pub const CLAIM: Duration = Duration::from_secs(45);
/// After this time a mail in the queue is due again: the queue may be lost.
const QUEUED_FOR: Duration = Duration::from_mins(10);

/// How long a mail of this kind is worth sending, and its link works.
#[must_use]
pub fn lifetime(kind: MailKind) -> Duration {
    match kind {
        MailKind::VerifyAddress | MailKind::PasswordChanged => Duration::from_hours(24),
        MailKind::PasswordReset => Duration::from_mins(30),
    }
}

/// Asks for a mail to the account's address; for none if the installation sends no mail.
pub(crate) async fn ask_in(
    tx: &mut Connection,
    account: AccountId,
    mail: Option<&MailRequest>,
) -> StoreResult<()> {
    let Some(mail) = mail else { return Ok(()) };
    let token = (mail.kind == MailKind::VerifyAddress).then_some(mail.token_hash.as_slice());
    sqlx::query!(
        "insert into mails (mail_id, kind, account_id, recipient, token_hash, expires_at)
         select $1, $2, account_id, email, $4, clock_timestamp() + make_interval(secs => $5)
         from accounts where account_id = $3",
        mail.id.0,
        mail.kind.as_str(),
        account.0,
        token,
        lifetime(mail.kind).as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How long an account must wait before it may ask for another mail of this kind; `None` if it may
/// now. The account's row must be locked.
pub(crate) async fn wait_in(
    tx: &mut Connection,
    account: AccountId,
    kind: MailKind,
) -> StoreResult<Option<Duration>> {
    let row = sqlx::query!(
        r#"select count(*) as "asked!",
               coalesce(extract(epoch from clock_timestamp() - max(made_at)), 1e9)::float8
                   as "last_s!"
           from mails
           where account_id = $1 and kind = $2
             and made_at > clock_timestamp() - interval '1 day'"#,
        account.0,
        kind.as_str(),
    )
    .fetch_one(tx)
    .await?;
    let every = if row.asked < ASKED_PER_DAY_MAX { ASKED_EVERY } else { lifetime(kind) / 2 };
    let wait = every.saturating_sub(Duration::from_secs_f64(row.last_s.max(0.)));
    Ok((!wait.is_zero()).then_some(wait))
}

/// What became of a wish for another mail that verifies the address.
pub enum Asked {
    /// It will be sent.
    Yes,
    /// The address is verified.
    NotNeeded,
    /// Too many were asked for: the account may ask again after this time.
    Wait(Duration),
    NoAccount,
}

/// Asks for another mail that verifies the account's address.
pub async fn ask_to_verify(
    pool: &Pool,
    account: AccountId,
    mail: &MailRequest,
) -> StoreResult<Asked> {
    let mut tx = pool.begin().await?;
    let verified = sqlx::query_scalar!(
        r#"select email_verified_at is not null as "verified!" from accounts
           where account_id = $1 for no key update"#,
        account.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    match verified {
        None => return Ok(Asked::NoAccount),
        Some(true) => return Ok(Asked::NotNeeded),
        Some(false) => {}
    }
    if let Some(wait) = wait_in(&mut tx, account, mail.kind).await? {
        return Ok(Asked::Wait(wait));
    }
    ask_in(&mut tx, account, Some(mail)).await?;
    tx.commit().await?;
    Ok(Asked::Yes)
}

/// Uses the link of a mail that verifies an address. `None` if it was used, has expired, or is not
/// about the account's present address.
pub async fn verify(pool: &Pool, token: &str) -> StoreResult<Option<User>> {
    let hash = digest(token.as_bytes());
    let mut tx = pool.begin().await?;
    let mail = sqlx::query!(
        "update mails set token_hash = null
         where token_hash = $1 and expires_at > clock_timestamp()
         returning account_id, recipient",
        hash.as_slice(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(mail) = mail else { return Ok(None) };
    let account = AccountId(mail.account_id);
    let user = accounts::verify_address_in(&mut tx, account, &mail.recipient).await?;
    tx.commit().await?;
    Ok(user)
}

/// Takes the mails that are due, the longest due first, except those that another relay has taken.
pub async fn take_due(tx: &mut Connection, at_most: i64) -> StoreResult<Vec<MailId>> {
    let ids = sqlx::query_scalar!(
        "select mail_id from mails
         where ended_at is null and due_at <= clock_timestamp()
         order by due_at limit $1 for update skip locked",
        at_most,
    )
    .fetch_all(tx)
    .await?;
    Ok(ids.into_iter().map(MailId).collect())
}

/// Notes that these mails are in the queue.
pub async fn mark_queued(tx: &mut Connection, mails: &[MailId]) -> StoreResult<()> {
    let ids: Vec<_> = mails.iter().map(|mail| mail.0).collect();
    sqlx::query!(
        "update mails set due_at = clock_timestamp() + make_interval(secs => $2)
         where mail_id = any($1)",
        &ids,
        QUEUED_FOR.as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A mail that is to be sent now.
pub struct ClaimedMail {
    pub id: MailId,
    pub kind: String,
    pub recipient: String,
    pub made_at: DateTime<Utc>,
    /// Whether it is too old, or was tried too often, to be sent.
    pub is_over: bool,
    pub attempts: i32,
}

/// Claims a mail for [`CLAIM`]. `None` if it has ended, waits for its next attempt, or somebody
/// else sends it.
pub async fn claim(pool: &Pool, mail: MailId) -> StoreResult<Option<ClaimedMail>> {
    let row = sqlx::query!(
        r#"update mails set attempts = attempts + 1,
               claimed_until = clock_timestamp() + make_interval(secs => $2),
               due_at = clock_timestamp() + make_interval(secs => $2)
           where mail_id = $1 and ended_at is null
             and (claimed_until is null or claimed_until <= clock_timestamp())
           returning kind, recipient, made_at, attempts,
               (expires_at <= clock_timestamp() or attempts > $3) as "is_over!""#,
        mail.0,
        CLAIM.as_secs_f64(),
        ATTEMPTS_MAX,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| ClaimedMail {
        id: mail,
        kind: row.kind,
        recipient: row.recipient,
        made_at: row.made_at,
        is_over: row.is_over,
        attempts: row.attempts,
    }))
}

/// Notes the end of a mail: sent, or never sent for this reason.
pub async fn end(pool: &Pool, mail: MailId, failure: Option<&str>) -> StoreResult<()> {
    sqlx::query!(
        "update mails set ended_at = clock_timestamp(), failure = $2
         where mail_id = $1 and ended_at is null",
        mail.0,
        failure,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Puts a mail off after a failed attempt. The wait is spread by half, so that not all mails come
/// back at once.
pub async fn put_off(pool: &Pool, mail: &ClaimedMail) -> StoreResult<()> {
    sqlx::query!(
        "update mails set due_at = next.at, claimed_until = next.at
         from (select clock_timestamp() + make_interval(secs => $2 * (0.5 + random() / 2)) as at)
             as next
         where mail_id = $1 and ended_at is null",
        mail.id.0,
        again_after(mail.attempts).as_secs_f64(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

fn again_after(attempts: i32) -> Duration {
    let triplings = u32::try_from(attempts - 1).unwrap_or_default().min(10);
    (AGAIN_AFTER * 3_u32.pow(triplings)).min(AGAIN_AFTER_MAX)
}

/// How many mails wait, and for how long the oldest has.
pub async fn waiting(pool: &Pool) -> StoreResult<(i64, Duration)> {
    let row = sqlx::query!(
        r#"select count(*) as "n!",
               coalesce(extract(epoch from clock_timestamp() - min(made_at)), 0)::float8 as "age_s!"
           from mails where ended_at is null"#
    )
    .fetch_one(pool)
    .await?;
    Ok((row.n, Duration::from_secs_f64(row.age_s.max(0.))))
}

/// Deletes mails that were sent two days ago or failed a month ago, at most `rows_max`.
pub async fn forget_old(pool: &Pool, rows_max: i64) -> StoreResult<()> {
    sqlx::query!(
        "delete from mails where mail_id in (
             select mail_id from mails
             where ended_at < statement_timestamp() - interval '2 days'
               and (failure is null or ended_at < statement_timestamp() - interval '30 days')
             limit $1)",
        rows_max,
    )
    .execute(pool)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_up_to_half_an_hour() {
        let waits: Vec<u64> = (1..=8).map(|n| again_after(n).as_secs()).collect();
        assert_eq!(waits, [5, 15, 45, 135, 405, 1215, 1800, 1800]);
        assert_eq!(again_after(i32::MAX), AGAIN_AFTER_MAX);
    }
}
