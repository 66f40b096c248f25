//! Sessions: who is signed in, and for how long. Each turn of a session makes the refresh token of
//! the turn before it worthless; who comes with an older one has copied it, or was copied.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{AccountId, SessionId, refresh::Turn};

use crate::{
    Connection, Pool, StoreResult,
    accounts::{self, Credentials, NewAccount},
};

/// Sessions one account has at most; the one that was not refreshed for longest gives way.
pub const SESSIONS_MAX: i64 = 20;
/// The refresh token of the turn before is taken for so long still: the answer may have been lost,
/// and two pages of one browser refresh at once.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// A session that is good, and whose it is.
pub struct Session {
    pub id: SessionId,
    pub account: Credentials,
    pub turn: i32,
    pub expires_at: DateTime<Utc>,
}

/// What came of a refresh token.
pub enum Refreshed {
    Next(Box<Session>),
    /// There is no such session, or it is over.
    Over,
    /// The token was used before: the session is over now.
    Reused,
}

/// Begins a session of an account whose password was proved as of these credentials. Where they
/// have changed since, it is over before it is used.
pub async fn begin(pool: &Pool, account: Credentials, lifetime: Duration) -> StoreResult<Session> {
    let mut tx = pool.begin().await?;
    let session = begin_in(&mut tx, account, lifetime).await?;
    tx.commit().await?;
    Ok(session)
}

/// Makes an account with its first session.
pub async fn sign_up(
    pool: &Pool,
    new: NewAccount,
    password_hash: &str,
    lifetime: Duration,
) -> StoreResult<Session> {
    let mut tx = pool.begin().await?;
    let account = accounts::create_in(&mut tx, new, password_hash).await?;
    let session = begin_in(&mut tx, account, lifetime).await?;
    tx.commit().await?;
    Ok(session)
}

/// Changes the password of an account, if these still are its credentials: every session and token
/// ends, and one session begins. `None` where they are not.
pub async fn change_password(
    pool: &Pool,
    account: &Credentials,
    password_hash: &str,
    lifetime: Duration,
) -> StoreResult<Option<Session>> {
    let mut tx = pool.begin().await?;
    let changed = accounts::change_password_in(&mut tx, account, password_hash).await?;
    let Some(changed) = changed else { return Ok(None) };
    let session = begin_in(&mut tx, changed, lifetime).await?;
    tx.commit().await?;
    Ok(Some(session))
}

async fn begin_in(
    tx: &mut Connection,
    account: Credentials,
    lifetime: Duration,
) -> StoreResult<Session> {
    let (id, owner) = (SessionId::new(), account.user.user_id);
    let expires_at = sqlx::query_scalar!(
        "insert into sessions (session_id, account_id, generation, expires_at)
         values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
         returning expires_at",
        id.0,
        owner.0,
        account.generation,
        lifetime.as_secs_f64(),
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
    Ok(Session { id, account, turn: 0, expires_at })
}

/// Turns a session over: its next refresh token is the one that is good.
pub async fn refresh(pool: &Pool, token: Turn) -> StoreResult<Refreshed> {
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
            "update sessions set turn = $2, turned_at = clock_timestamp() where session_id = $1",
            token.session.0,
            turn,
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    let expires_at = row.expires_at;
    Ok(Refreshed::Next(Box::new(Session { id: token.session, account, turn, expires_at })))
}

/// The turn that follows where this token is shown; `None` where it was used before. A token of a
/// turn to come is of a database that was put back: nobody knows any more which one was used.
fn next_turn(present: i32, shown: i32, is_recent: bool) -> Option<i32> {
    if shown == present {
        present.checked_add(1)
    } else {
        (shown.checked_add(1) == Some(present) && is_recent).then_some(present)
    }
}

/// Ends the session of this token, whichever turn it is of.
pub async fn end(pool: &Pool, session: SessionId) -> StoreResult<()> {
    sqlx::query!("delete from sessions where session_id = $1", session.0).execute(pool).await?;
    Ok(())
}

/// Forgets sessions and links that are over, at most so many of each.
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
