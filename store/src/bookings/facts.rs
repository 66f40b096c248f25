//! What a batch must know before it decides. Read inside its transaction.

use std::collections::HashSet;

use contract::{AccountId, BookingId, ShowId, TicketId, topology::Partition};
use uuid::Uuid;

use crate::{Connection, StoreResult};

/// What a batch asks about.
#[derive(Debug, Default)]
pub struct Asked {
    pub bookings: Vec<BookingId>,
    pub keys: Vec<(AccountId, String)>,
    /// Ask about them after [`lock_quotas`](super::lock_quotas) of their accounts: a pass belongs to
    /// one account, so the lock keeps other tiers from using the pass meanwhile.
    pub tickets: Vec<TicketId>,
}

/// What the database knows of that.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The bookings that have been decided.
    pub decided: HashSet<BookingId>,
    /// The keys that belong to a decided booking of their account.
    pub keys_used: HashSet<(AccountId, String)>,
    /// The places with a spent pass: it bought a live booking, or a paid one since cancelled, or was
    /// revoked.
    pub passes_spent: HashSet<TicketId>,
}

/// Answers a batch's questions, all in one statement.
pub async fn known(tx: &mut Connection, show: ShowId, asked: &Asked) -> StoreResult<Known> {
    let Asked { bookings, keys, tickets } = asked;
    if bookings.is_empty() && keys.is_empty() && tickets.is_empty() {
        return Ok(Known::default());
    }
    let bookings: Vec<Uuid> = bookings.iter().map(|booking| booking.0).collect();
    let (accounts, texts): (Vec<Uuid>, Vec<String>) =
        keys.iter().map(|(account, key)| (account.0, key.clone())).unzip();
    let tickets: Vec<Uuid> = tickets.iter().map(|ticket| ticket.0).collect();
    // `offset 0`: one by one, by the index (`store::bookings`).
    let rows = sqlx::query!(
        "select a.id as decided, null::uuid as account_id, null as key, null::uuid as spent
         from unnest($2::uuid[]) as a (id)
         cross join lateral (
             select from bookings where show_id = $1 and booking_id = a.id offset 0) as b
         union all
         select null, k.account_id, k.key, null
         from unnest($3::uuid[], $4::text[]) as k (account_id, key)
         cross join lateral (
             select from bookings
             where show_id = $1 and account_id = k.account_id and idempotency_key = k.key
             offset 0) as b
         union all
         select null, null, null, t.id from unnest($5::uuid[]) as t (id)
         cross join lateral (
             select from bookings
             where show_id = $1 and ticket_id = t.id
               and state in ('HELD', 'PAYMENT_PENDING', 'CONFIRMED')
             union all
             select from bookings b join orders o using (show_id, booking_id)
             where show_id = $1 and b.ticket_id = t.id and b.state = 'CANCELLED'
               and o.confirmed_at is not null
             union all
             select from admissions
             where show_id = $1 and ticket_id = t.id and revoked_at is not null
             offset 0) as spent",
        show.0,
        &bookings,
        &accounts,
        &texts,
        &tickets,
    )
    .fetch_all(tx)
    .await?;
    let mut known = Known::default();
    for row in rows {
        known.decided.extend(row.decided.map(BookingId));
        known.keys_used.extend(row.account_id.map(AccountId).zip(row.key));
        known.passes_spent.extend(row.spent.map(TicketId));
    }
    Ok(known)
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
