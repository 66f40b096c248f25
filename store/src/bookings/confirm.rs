//! Paying: a conditional transition on the database's clock. A payment that loses the race with the
//! sweep is told so.

use contract::{
    AccountId, BookingId, OrderId, ShowId, api::bookings::Order, booking::Transition,
    message::BookingEvent, topology::Partition,
};
use platform::faults::failpoint;

use super::{claims, codes::new_ticket_code};
use crate::{
    Connection, StoreResult,
    error::readable,
    orders::{by_id, of_booking},
    outbox,
    partitions::labels,
};

/// The result of a payment.
#[derive(Debug)]
pub enum Payment {
    /// Confirmed now, or before.
    Confirmed(Box<Order>),
    /// The order is past its time, or ended in another way; its status says which.
    TooLate(Box<Order>),
    NoSuchOrder,
}

/// Most tries to find a free ticket code. There are 32^6 codes, so even one retry is rare.
const CODE_ATTEMPTS_MAX: usize = 8;

/// Confirms the order and makes its ticket code. A second call returns the same order. The caller
/// commits.
pub async fn confirm(
    tx: &mut Connection,
    order: OrderId,
    owner: AccountId,
) -> StoreResult<Payment> {
    for attempt in 1.. {
        sqlx::query!("savepoint before_ticket_code").execute(&mut *tx).await?;
        match confirm_with(tx, order, owner, &new_ticket_code()).await {
            Err(error)
                if error.is_constraint("orders_ticket_code_key") && attempt < CODE_ATTEMPTS_MAX =>
            {
                sqlx::query!("rollback to savepoint before_ticket_code").execute(&mut *tx).await?;
            }
            Err(error) => return Err(error),
            // The answer is what this call did, whatever happens to the order later.
            Ok(Some(paid)) => return Ok(Payment::Confirmed(Box::new(paid))),
            Ok(None) => break,
        }
    }
    Ok(match by_id(&mut *tx, order, owner).await? {
        None => Payment::NoSuchOrder,
        Some(order)
            if order.ticket_code.is_some()
                && order.status == contract::booking::OrderStatus::Confirmed =>
        {
            Payment::Confirmed(Box::new(order))
        }
        Some(order) => Payment::TooLate(Box::new(order)),
    })
}

async fn confirm_with(
    tx: &mut Connection,
    order: OrderId,
    owner: AccountId,
    code: &str,
) -> StoreResult<Option<Order>> {
    let confirmed = Transition::Confirm.to();
    let from: Vec<String> =
        Transition::Confirm.from().map(|state| state.as_str().to_owned()).collect();
    let row = sqlx::query!(
        r#"update bookings b set state = $3::text::booking_state, seq = seq + 1, expires_at = null
           from orders o
           where o.order_id = $1 and o.account_id = $2
             and b.show_id = o.show_id and b.booking_id = o.booking_id
             and b.state::text = any($4) and b.expires_at > clock_timestamp()
           returning b.show_id, b.booking_id, b.tier, b.seat_ids as "seat_ids!", b.seq,
               clock_timestamp() as "now!""#,
        order.0,
        owner.0,
        confirmed.as_str(),
        &from,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let partition = Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? };
    let booking = BookingId(row.booking_id);
    claims::sell(&mut *tx, booking).await?;
    sqlx::query!(
        "update orders set status = 'CONFIRMED', confirmed_at = $3, ticket_code = $4
         where show_id = $1 and order_id = $2",
        row.show_id,
        order.0,
        row.now,
        code,
    )
    .execute(&mut *tx)
    .await?;
    let event = BookingEvent::new(&partition, booking, owner, row.seq, row.now);
    let event = event.now(confirmed, labels(&row.seat_ids)?, Some(order));
    outbox::append(tx, &[event]).await?;
    let paid = of_booking(&mut *tx, partition.show, booking).await?;
    failpoint("mid-payment");
    Ok(paid)
}
