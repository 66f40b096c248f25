//! Requests that are refused without a look at the seats, and messages that cannot be read.

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId,
    booking::{Kind, Reason},
    message::{BookingEvent, Number},
    topology::Partition,
};

use crate::{Connection, Pool, StoreResult, acceptance, outbox};

/// A request that is refused without a look at the seats.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub partition: Partition,
    pub booking: BookingId,
    pub account: AccountId,
    pub kind: Kind,
    /// Stays with the booking, so that no other booking can use it, unless one already does.
    pub idempotency_key: Option<String>,
    /// The number of the request, if it has one.
    pub number: Option<Number>,
    /// Until when the request might have been allocated, if that is known. After it the reason
    /// becomes EXPIRED, because the owner may have been told so.
    pub deadline: Option<DateTime<Utc>>,
    pub reason: Reason,
}

/// Writes REJECTED if there is no outcome yet. Needs no epoch: a refusal touches no seat.
pub async fn refuse(pool: &Pool, refusal: &Refusal) -> StoreResult<bool> {
    let mut tx = pool.begin().await?;
    let key = refusal.idempotency_key.as_deref();
    let mut decided_at = insert_refusal(&mut tx, refusal, key).await?;
    if decided_at.is_none() && key.is_some() {
        // Either the booking is decided or its key is another booking's. Without the key, only the
        // first can stop the insert.
        decided_at = insert_refusal(&mut tx, refusal, None).await?;
    }
    if let Some((at, is_late)) = decided_at {
        let reason = if is_late { Reason::Expired } else { refusal.reason };
        let event = BookingEvent::new(&refusal.partition, refusal.booking, refusal.account, 1, at);
        let event = event.rejected(reason);
        outbox::append(&mut tx, &[event]).await?;
    }
    acceptance::are_decided(&mut tx, &refusal.partition, refusal.number).await?;
    tx.commit().await?;
    Ok(decided_at.is_some())
}

/// When the request was refused, and whether its deadline was over; `None` if the booking or the
/// key is already there.
async fn insert_refusal(
    tx: &mut Connection,
    refusal: &Refusal,
    key: Option<&str>,
) -> StoreResult<Option<(DateTime<Utc>, bool)>> {
    let refused = sqlx::query!(
        r#"with late as (select coalesce($8::timestamptz <= clock_timestamp(), false) as is_late)
         insert into bookings (show_id, booking_id, account_id, tier, kind, status, reason,
             idempotency_key)
         select $1, $2, $3, $4, $5::text::booking_kind, 'REJECTED',
             case when is_late then 'EXPIRED' else $6::text end::rejection, $7
         from late
         where exists (select from shows where show_id = $1)
         on conflict do nothing
         returning decided_at, (select is_late from late) as "is_late!""#,
        refusal.partition.show.0,
        refusal.booking.0,
        refusal.account.0,
        refusal.partition.tier.as_str(),
        refusal.kind.as_str(),
        refusal.reason.as_str(),
        key,
        refusal.deadline,
    )
    .fetch_optional(tx)
    .await?;
    Ok(refused.map(|row| (row.decided_at, row.is_late)))
}

/// Keeps a message that cannot be understood, for a person to read.
pub async fn keep_parked(
    pool: &Pool,
    routing_key: &str,
    body: &[u8],
    why: &str,
) -> StoreResult<()> {
    sqlx::query!(
        "insert into parked_messages (routing_key, body, why) values ($1, $2, $3)",
        routing_key,
        body,
        why,
    )
    .execute(pool)
    .await?;
    Ok(())
}
