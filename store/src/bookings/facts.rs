//! What a batch must know before it decides. Read inside its transaction.

use std::collections::HashSet;

use contract::{AccountId, BookingId, ShowId, TicketId, topology::Partition};
use uuid::Uuid;

use crate::{Connection, StoreResult};

/// Which of these bookings have been decided.
pub async fn decided(
    tx: &mut Connection,
    show: ShowId,
    bookings: &[BookingId],
) -> StoreResult<HashSet<BookingId>> {
    let ids: Vec<Uuid> = bookings.iter().map(|id| id.0).collect();
    let rows = sqlx::query_scalar!(
        "select booking_id from bookings where show_id = $1 and booking_id = any($2)",
        show.0,
        &ids,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(BookingId).collect())
}

/// Which of these idempotency keys belong to a decided booking of their account.
pub async fn keys_used(
    tx: &mut Connection,
    show: ShowId,
    keys: &[(AccountId, String)],
) -> StoreResult<HashSet<(AccountId, String)>> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let accounts: Vec<Uuid> = keys.iter().map(|(account, _)| account.0).collect();
    let texts: Vec<String> = keys.iter().map(|(_, key)| key.clone()).collect();
    // `offset 0`: key by key, by the index (`store::bookings`).
    let rows = sqlx::query!(
        r#"select k.account_id as "account_id!", k.key as "key!"
           from unnest($2::uuid[], $3::text[]) as k (account_id, key)
           cross join lateral (
               select from bookings
               where show_id = $1 and account_id = k.account_id and idempotency_key = k.key
               offset 0) as b"#,
        show.0,
        &accounts,
        &texts,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (AccountId(row.account_id), row.key)).collect())
}

/// How many seats of a partition are held and not sold, counted up to the first `at_most` bookings.
pub async fn seats_held(
    tx: &mut Connection,
    partition: &Partition,
    at_most: i64,
) -> StoreResult<i64> {
    let held = sqlx::query_scalar!(
        r#"select coalesce(sum(cardinality(seat_ids)), 0) as "held!"
           from (select seat_ids from bookings
                 where show_id = $1 and tier = $2 and state in ('HELD', 'PAYMENT_PENDING')
                 limit $3) as live"#,
        partition.show.0,
        partition.tier.as_str(),
        at_most,
    )
    .fetch_one(tx)
    .await?;
    Ok(held)
}

/// Which of these places have a spent pass: it bought a live booking, or a paid one since
/// cancelled, or was revoked. Call it after [`lock_quotas`](super::lock_quotas) of their accounts:
/// a pass belongs to one account, so the lock keeps other tiers from using the pass meanwhile.
pub async fn passes_spent(
    tx: &mut Connection,
    show: ShowId,
    tickets: &[TicketId],
) -> StoreResult<HashSet<TicketId>> {
    if tickets.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<Uuid> = tickets.iter().map(|ticket| ticket.0).collect();
    let rows = sqlx::query_scalar!(
        r#"select ticket_id as "ticket_id!" from bookings
           where show_id = $1 and ticket_id = any($2)
             and state in ('HELD', 'PAYMENT_PENDING', 'CONFIRMED')
           union all
           select b.ticket_id from bookings b join orders o using (show_id, booking_id)
           where show_id = $1 and b.ticket_id = any($2) and b.state = 'CANCELLED'
             and o.confirmed_at is not null
           union all
           select ticket_id from admissions
           where show_id = $1 and ticket_id = any($2) and revoked_at is not null"#,
        show.0,
        &ids,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(TicketId).collect())
}
