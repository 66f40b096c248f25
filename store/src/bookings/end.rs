//! How live bookings end: lapsed, released, cancelled, not paid. A booking ends as a whole: state,
//! claims, quota, order, event, and the tier's version.

use contract::{
    AccountId, BookingId, OrderId, SeatLabel,
    booking::{Ending, State, Transition},
    message::BookingEvent,
    topology::Partition,
};
use uuid::Uuid;

use super::{claims, quotas};
use crate::{Connection, Pool, StoreResult, outbox, partitions};

/// A booking that ended, and the seats that came free with it.
#[derive(Clone, Debug)]
pub struct Ended {
    pub booking: BookingId,
    pub account: AccountId,
    pub seats: Vec<SeatLabel>,
}

/// Ends those of these bookings that can end this way. The partition must be locked. Locks the
/// quotas of their accounts, for which a caller that holds them already does not wait.
pub async fn end(
    tx: &mut Connection,
    partition: &Partition,
    candidates: &[(BookingId, AccountId)],
    ending: Ending,
) -> StoreResult<Vec<Ended>> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let accounts: Vec<AccountId> = candidates.iter().map(|(_, account)| *account).collect();
    quotas::lock_quotas(tx, partition.show, &accounts).await?;
    let ids: Vec<Uuid> = candidates.iter().map(|(booking, _)| booking.0).collect();
    // Lock in a statement of its own: while it waits, a booking may change, and a statement that
    // began before the change would still see the old row.
    sqlx::query!(
        "select booking_id from bookings
         where show_id = $1 and booking_id = any($2)
         order by booking_id for no key update",
        partition.show.0,
        &ids,
    )
    .fetch_all(&mut *tx)
    .await?;
    let end = Transition::End(ending);
    let from: Vec<String> = end.from().map(|state| state.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"update bookings b set state = $3::text::booking_state, seq = seq + 1
           where b.show_id = $1 and b.booking_id = any($2)
             and b.state::text = any($4)
             and case when $5 then b.expires_at <= clock_timestamp()
                      else b.state = 'CONFIRMED' or b.expires_at > clock_timestamp() end
             and ($3::text <> 'CANCELLED' or exists (
                 select from shows s
                 where s.show_id = $1 and s.starts_at > clock_timestamp()))
           returning b.booking_id, b.account_id, b.seat_ids as "seat_ids!", b.seq,
               clock_timestamp() as "now!",
               (select order_id from orders o
                where o.show_id = b.show_id and o.booking_id = b.booking_id) as order_id"#,
        partition.show.0,
        &ids,
        end.to().as_str(),
        &from,
        ending == Ending::Lapsed,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut ended = Vec::with_capacity(rows.len());
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let seats = partitions::labels(&row.seat_ids)?;
        let (booking, account) = (BookingId(row.booking_id), AccountId(row.account_id));
        let event = BookingEvent::new(partition, booking, account, row.seq, row.now);
        events.push(event.now(end.to(), seats.clone(), row.order_id.map(OrderId)));
        ended.push(Ended { booking, account, seats });
    }
    if !ended.is_empty() {
        free(tx, partition, &ended, end.to()).await?;
        outbox::append(tx, &events).await?;
    }
    Ok(ended)
}

async fn free(
    tx: &mut Connection,
    partition: &Partition,
    ended: &[Ended],
    state: State,
) -> StoreResult<()> {
    let ids: Vec<Uuid> = ended.iter().map(|e| e.booking.0).collect();
    claims::free(tx, &ids).await?;
    let kept: Vec<_> = ended.iter().map(|e| (e.booking, e.account, e.seats.len())).collect();
    quotas::settle(tx, partition.show, &kept).await?;
    if let Some(status) = state.order_status() {
        sqlx::query!(
            "update orders set status = $3::text::order_status
             where show_id = $1 and booking_id = any($2)",
            partition.show.0,
            &ids,
            status.as_str(),
        )
        .execute(&mut *tx)
        .await?;
    }
    let freed: Vec<SeatLabel> = ended.iter().flat_map(|e| e.seats.iter().cloned()).collect();
    partitions::record_change(tx, partition, &[], &freed).await?;
    Ok(())
}

/// Ends one booking in a transaction of its own. `None` if it cannot end this way.
pub async fn end_one(
    pool: &Pool,
    partition: &Partition,
    booking: BookingId,
    account: AccountId,
    ending: Ending,
) -> StoreResult<Option<Ended>> {
    let mut tx = pool.begin().await?;
    partitions::lock(&mut tx, partition, None).await?;
    let mut ended = end(&mut tx, partition, &[(booking, account)], ending).await?;
    tx.commit().await?;
    Ok(ended.pop())
}
