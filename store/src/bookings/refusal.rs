//! Requests that end without having been weighed against the seats, and messages that are none.

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId,
    booking::{Kind, Reason},
    message::{BookingEvent, Number},
    topology::Partition,
};

use crate::{Connection, Pool, StoreResult, acceptance, outbox};

/// A request that ends without having been weighed against the seats.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub partition: Partition,
    pub booking: BookingId,
    pub account: AccountId,
    pub kind: Kind,
    /// Stays with the booking, so that no other can have it, unless another has it already.
    pub idempotency_key: Option<String>,
    /// Its number among what was accepted, where it has one.
    pub number: Option<Number>,
    /// Until when it might have been allocated, where that is known. Past it the reason is EXPIRED,
    /// whatever it was: its owner may have been told so.
    pub deadline: Option<DateTime<Utc>>,
    pub reason: Reason,
}

/// Writes REJECTED where there is no outcome yet. Needs no epoch: a refusal touches no seat.
pub async fn refuse(pool: &Pool, refusal: &Refusal) -> StoreResult<bool> {
    let mut tx = pool.begin().await?;
    let key = refusal.idempotency_key.as_deref();
    let mut decided_at = insert_refusal(&mut tx, refusal, key).await?;
    if decided_at.is_none() && key.is_some() {
        // The booking is decided, or its key is another's: without the key only the first counts.
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

/// When it was refused, and whether its deadline was over; `None` where the booking or the key is
/// there already.
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
