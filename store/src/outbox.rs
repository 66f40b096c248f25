//! Events on their way to the broker, written in the transaction that they tell of. A row is a message
//! that goes out: one event, or many of bookings that were decided together.

use contract::{
    message::{BookingEvent, EventMessage},
    topology::Partition,
};
use uuid::Uuid;

use crate::{Connection, Pool, StoreResult};

/// A message that waits for the broker.
pub struct Unpublished {
    pub outbox_id: i64,
    pub routing_key: String,
    /// Events, for [`EventMessage::decode`].
    pub body: Vec<u8>,
}

/// Appends events to the transaction that makes them true.
pub async fn append(tx: &mut Connection, events: &[BookingEvent]) -> StoreResult<()> {
    let messages: Vec<EventMessage> = EventMessage::all(events).collect();
    let firsts: Vec<&BookingEvent> = messages.iter().map(EventMessage::first).collect();
    let ids: Vec<Uuid> = firsts.iter().map(|event| event.event_id.0).collect();
    let shows: Vec<Uuid> = firsts.iter().map(|event| event.show_id.0).collect();
    let bookings: Vec<Uuid> = firsts.iter().map(|event| event.booking_id.0).collect();
    let seqs: Vec<i32> = firsts.iter().map(|event| event.seq).collect();
    let keys: Vec<String> = firsts
        .iter()
        .map(|event| Partition { show: event.show_id, tier: event.tier.clone() }.routing_key())
        .collect();
    let bodies: Vec<String> = messages.iter().map(EventMessage::encode).collect();
    sqlx::query!(
        "insert into outbox (event_id, show_id, booking_id, seq, routing_key, body)
         select event_id, show_id, booking_id, seq, routing_key, body::jsonb
         from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::text[])
             as m (event_id, show_id, booking_id, seq, routing_key, body)",
        &ids,
        &shows,
        &bookings,
        &seqs,
        &keys,
        &bodies,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the oldest unpublished messages, except those that another relay has taken and those in
/// `but_not`. A later event of a booking waits for the message that begins with an earlier one.
///
/// Selects by `published_at`, never by "id above the last seen": a transaction that commits late
/// has smaller ids than one that was already read.
pub async fn take(
    tx: &mut Connection,
    at_most: i64,
    but_not: &[i64],
) -> StoreResult<Vec<Unpublished>> {
    let rows = sqlx::query!(
        r#"select outbox_id, routing_key, body::text as "body!" from outbox
           where published_at is null and outbox_id <> all($2)
             and (seq = 1 or not exists (
                 select from outbox earlier
                 where earlier.booking_id = outbox.booking_id and earlier.seq < outbox.seq
                   and earlier.published_at is null))
           order by outbox_id limit $1
           for update skip locked"#,
        at_most,
        but_not,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Unpublished {
            outbox_id: row.outbox_id,
            routing_key: row.routing_key,
            body: row.body.into_bytes(),
        })
        .collect())
}

/// Notes that the broker has confirmed these messages.
pub async fn mark_published(tx: &mut Connection, outbox_ids: &[i64]) -> StoreResult<()> {
    sqlx::query!(
        "update outbox set published_at = clock_timestamp() where outbox_id = any($1)",
        outbox_ids
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes messages published more than a day ago, some thousands at a time. Returns how many.
pub async fn forget_old(pool: &Pool) -> StoreResult<u64> {
    let mut forgotten = 0;
    loop {
        let deleted = sqlx::query!(
            "delete from outbox where outbox_id in
                 (select outbox_id from outbox
                  where published_at < statement_timestamp() - interval '1 day'
                  limit 10000)"
        )
        .execute(pool)
        .await?
        .rows_affected();
        forgotten += deleted;
        if deleted == 0 {
            return Ok(forgotten);
        }
    }
}
