//! What an owner sees of their sessions, to find one that is not theirs.

use chrono::{DateTime, Utc};
use contract::{AccountId, SessionId};

use crate::{
    Pool, StoreResult,
    sessions::{Device, SESSIONS_MAX},
};

/// A session that is not over, as its owner sees it.
pub struct SessionSeen {
    pub id: SessionId,
    pub began_at: DateTime<Utc>,
    pub used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub device: Device,
}

/// The sessions of an account that are not over, the last used first.
pub async fn of(pool: &Pool, account: AccountId) -> StoreResult<Vec<SessionSeen>> {
    let rows = sqlx::query!(
        "select session_id, began_at, turned_at, expires_at, network, user_agent
         from sessions join accounts using (account_id)
         where account_id = $1 and generation = token_generation
             and expires_at > clock_timestamp()
         order by turned_at desc, session_id limit $2",
        account.0,
        SESSIONS_MAX,
    )
    .fetch_all(pool)
    .await?;
    let seen = rows.into_iter().map(|row| SessionSeen {
        id: SessionId(row.session_id),
        began_at: row.began_at,
        used_at: row.turned_at,
        expires_at: row.expires_at,
        device: Device { network: row.network, user_agent: row.user_agent },
    });
    Ok(seen.collect())
}

/// Ends a session of the account. Returns whether there was one.
pub async fn end(pool: &Pool, account: AccountId, session: SessionId) -> StoreResult<bool> {
    let gone = sqlx::query!(
        "delete from sessions where account_id = $1 and session_id = $2",
        account.0,
        session.0,
    )
    .execute(pool)
    .await?;
    Ok(gone.rows_affected() == 1)
}
