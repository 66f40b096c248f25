//! Sessions: who is signed in, and for how long. Each refresh is a turn, which makes the refresh
//! token of the turn before worthless. An older token that comes back was copied, so the session
//! ends.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{AccountId, SessionId, mail::MailRequest, refresh::RefreshTurn};

use crate::{
    Connection, Pool, StoreResult,
    accounts::{self, Credentials, NewAccount},
    mails,
};

/// Most sessions of one account; beyond it, the one that was not refreshed for longest ends.
pub const SESSIONS_MAX: i64 = 20;
/// How long the refresh token of the turn before is still taken: an answer may be lost, and two
/// pages of one browser may refresh at once.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// From where a session is used.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// A /24 of IPv4 or a /48 of IPv6.
    pub network: Option<String>,
    pub user_agent: Option<String>,
}

/// How a session begins: from where, and for how long.
#[derive(Clone, Debug)]
pub struct Start {
    pub device: Device,
    pub lifetime: Duration,
}

/// A valid session and its account.
pub struct SignInSession {
    pub id: SessionId,
    pub account: Credentials,
    pub turn: i32,
    pub expires_at: DateTime<Utc>,
}

/// The result of a refresh.
pub enum Refreshed {
    Next(Box<SignInSession>),
    /// There is no such session, or it is over.
    Over,
    /// The token was used before: the session is over now.
    Reused,
}

/// Begins a session of an account whose password was checked against these credentials. If they
/// have changed since, the session is over before it is used.
pub async fn begin(pool: &Pool, account: Credentials, start: &Start) -> StoreResult<SignInSession> {
    let mut tx = pool.begin().await?;
    let session = begin_in(&mut tx, account, start).await?;
    tx.commit().await?;
    Ok(session)
}

/// Makes an account with its first session, and asks for a mail.
pub async fn sign_up(
    pool: &Pool,
    new: NewAccount,
    password_hash: &str,
    start: &Start,
    mail: Option<&MailRequest>,
) -> StoreResult<SignInSession> {
    let mut tx = pool.begin().await?;
    let account = accounts::create_in(&mut tx, new, password_hash).await?;
    mails::ask_in(&mut tx, account.user.user_id, mail).await?;
    let session = begin_in(&mut tx, account, start).await?;
    tx.commit().await?;
    Ok(session)
}

/// Changes the password of an account if its credentials are unchanged: every session and token
/// ends, a new session begins, and a mail is asked for. `None` if the credentials have changed.
pub async fn change_password(
    pool: &Pool,
    account: &Credentials,
    password_hash: &str,
    start: &Start,
    mail: Option<&MailRequest>,
) -> StoreResult<Option<SignInSession>> {
    let mut tx = pool.begin().await?;
    let changed = accounts::change_password_in(&mut tx, account, password_hash).await?;
    let Some(changed) = changed else { return Ok(None) };
    mails::ask_in(&mut tx, changed.user.user_id, mail).await?;
    let session = begin_in(&mut tx, changed, start).await?;
    tx.commit().await?;
    Ok(Some(session))
}

pub(crate) async fn begin_in(
    tx: &mut Connection,
    account: Credentials,
    start: &Start,
) -> StoreResult<SignInSession> {
    let (id, owner) = (SessionId::new(), account.user.user_id);
    let expires_at = sqlx::query_scalar!(
        "insert into sessions
             (session_id, account_id, generation, expires_at, network, user_agent)
         values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4), $5, $6)
         returning expires_at",
        id.0,
        owner.0,
        account.generation,
        start.lifetime.as_secs_f64(),
        start.device.network,
        start.device.user_agent,
    )
    .fetch_one(&mut *tx)
    .await?;
    let gone = sqlx::query!(
        "delete from sessions where session_id in (
             select session_id from sessions
             where session_id in (
                 select session_id from sessions where account_id = $1
                 order by turned_at desc, session_id offset $2)
             for update skip locked)",
        owner.0,
        SESSIONS_MAX,
    )
    .execute(&mut *tx)
    .await?;
    metrics::counter!("usher_sessions_replaced_total").increment(gone.rows_affected());
    Ok(SignInSession { id, account, turn: 0, expires_at })
}

/// Refreshes a session: from now on the refresh token of its next turn is valid.
pub async fn refresh(pool: &Pool, token: RefreshTurn, device: &Device) -> StoreResult<Refreshed> {
    let mut tx = pool.begin().await?;
    let row = sqlx::query!(
        r#"select account_id, generation, turn, expires_at,
               clock_timestamp() as "now!", turned_at > clock_timestamp() - make_interval(secs => $2) as "is_recent!"
           from sessions where session_id = $1 for update"#,
        token.session.0,
        AGAIN_MAX.as_secs_f64(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(Refreshed::Over) };
    let account = accounts::credentials_in(&mut tx, AccountId(row.account_id)).await?;
    let account = account.filter(|account| account.generation == row.generation);
    let is_over = row.now >= row.expires_at;
    let turn = next_turn(row.turn, token.number, row.is_recent);
    let (Some(account), Some(turn), false) = (account, turn, is_over) else {
        let id = token.session.0;
        sqlx::query!("delete from sessions where session_id = $1", id).execute(&mut *tx).await?;
        tx.commit().await?;
        return Ok(if turn.is_none() { Refreshed::Reused } else { Refreshed::Over });
    };
    if turn > row.turn {
        sqlx::query!(
            "update sessions
             set turn = $2, turned_at = clock_timestamp(), network = $3, user_agent = $4
             where session_id = $1",
            token.session.0,
            turn,
            device.network,
            device.user_agent,
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    let expires_at = row.expires_at;
    Ok(Refreshed::Next(Box::new(SignInSession { id: token.session, account, turn, expires_at })))
}

/// The turn after a refresh with this token; `None` if the token was used before. A token of a
/// later turn comes from before the database was restored from a backup: it counts as used, because
/// it may have been.
fn next_turn(present: i32, shown: i32, is_recent: bool) -> Option<i32> {
    if shown == present {
        present.checked_add(1)
    } else {
        (shown.checked_add(1) == Some(present) && is_recent).then_some(present)
    }
}

/// Ends a session.
pub async fn end(pool: &Pool, session: SessionId) -> StoreResult<()> {
    sqlx::query!("delete from sessions where session_id = $1", session.0).execute(pool).await?;
    Ok(())
}

/// Deletes sessions and password links that have expired, at most `rows_max` of each.
pub async fn forget_old(pool: &Pool, rows_max: i64) -> StoreResult<()> {
    sqlx::query!(
        "delete from sessions where session_id in (
             select session_id from sessions where expires_at < statement_timestamp()
             limit $1)",
        rows_max,
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "delete from password_links where token_hash in (
             select token_hash from password_links
             where expires_at < statement_timestamp() limit $1)",
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
    fn a_refresh_token_is_good_once_and_a_moment_longer() {
        assert_eq!(next_turn(4, 4, false), Some(5));
        assert_eq!(next_turn(5, 4, true), Some(5), "the answer was lost: the same once more");
        assert_eq!(next_turn(5, 4, false), None);
        assert_eq!(next_turn(5, 3, true), None);
        assert_eq!(next_turn(5, 6, true), None, "of a future that was undone");
        assert_eq!(next_turn(i32::MAX, i32::MAX, true), None);
        assert_eq!(next_turn(0, -1, false), None);
    }
}
