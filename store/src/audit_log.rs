//! The log of what organisers and programs changed. Triggers write it.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use contract::{AccountId, TheatreId, api::staff::AuditEntry};
use uuid::Uuid;

use crate::{Connection, Pool, StoreResult};

/// Who makes a change, and by which request.
#[derive(Clone, Copy, Debug)]
pub struct Author {
    pub account: AccountId,
    pub address: IpAddr,
    pub request: Uuid,
}

/// Signs every change of this transaction.
pub async fn sign(tx: &mut Connection, author: &Author) -> StoreResult<()> {
    sqlx::query!(
        "select set_config('usher.actor', $1, true) as actor,
             set_config('usher.address', $2, true) as address,
             set_config('usher.request', $3, true) as request",
        author.account.to_string(),
        author.address.to_string(),
        author.request.to_string(),
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of theatres that this account organises.
    pub organiser: Option<AccountId>,
    pub actor: Option<AccountId>,
    pub subject: Option<Uuid>,
    pub theatre: Option<TheatreId>,
    /// What was done, such as `show.opened`, or the kind of thing, such as `show`.
    pub action: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    /// Entries older than this one.
    pub before: Option<i64>,
    /// Most entries to return.
    pub limit: i64,
}

/// Entries, the newest first.
pub async fn list(pool: &Pool, filter: &Filter) -> StoreResult<Vec<AuditEntry>> {
    let rows = sqlx::query!(
        "select entry_id, at, actor, via, action, subject_id, theatre_id, before, after, address,
             request_id
         from audit_log
         where ($1::uuid is null or theatre_id in
                 (select theatre_id from staff where account_id = $1 and role = 'organiser'))
             and ($2::uuid is null or actor = $2)
             and ($3::uuid is null or subject_id = $3)
             and ($4::uuid is null or theatre_id = $4)
             and ($5::text is null or action = $5 or split_part(action, '.', 1) = $5)
             and ($6::timestamptz is null or at >= $6)
             and ($7::timestamptz is null or at < $7)
             and ($8::bigint is null or entry_id < $8)
         order by entry_id desc
         limit $9",
        filter.organiser.map(|account| account.0),
        filter.actor.map(|account| account.0),
        filter.subject,
        filter.theatre.map(|theatre| theatre.0),
        filter.action,
        filter.from,
        filter.until,
        filter.before,
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    let entries = rows.into_iter().map(|row| AuditEntry {
        entry_id: row.entry_id,
        at: row.at,
        actor: row.actor.map(AccountId),
        via: row.via,
        action: row.action,
        subject_id: row.subject_id,
        theatre_id: row.theatre_id.map(TheatreId),
        before: row.before,
        after: row.after,
        address: row.address,
        request_id: row.request_id,
    });
    Ok(entries.collect())
}
