//! Orders, as their owners see them. A lapsed order is shown as EXPIRED at once.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId, Money, OrderId, ShowId,
    api::bookings::{Order, Ticket},
};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Pool, StoreError, StoreResult, error::readable, partitions::labels};

struct Row {
    show_id: Uuid,
    order_id: Uuid,
    booking_id: Uuid,
    reference: String,
    tier: String,
    seat_ids: Vec<String>,
    lines: serde_json::Value,
    amount: i64,
    currency: String,
    status: String,
    customer: serde_json::Value,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    confirmed_at: Option<DateTime<Utc>>,
    ticket_code: Option<String>,
}

fn read(row: Row) -> StoreResult<Order> {
    let unreadable = |error: serde_json::Error| StoreError::Unreadable(error.to_string());
    Ok(Order {
        order_id: OrderId(row.order_id),
        reference: row.reference,
        booking_id: BookingId(row.booking_id),
        show_id: ShowId(row.show_id),
        tier: readable(&row.tier)?,
        seat_ids: labels(&row.seat_ids)?,
        lines: serde_json::from_value(row.lines).map_err(unreadable)?,
        amount: Money { amount: row.amount, currency: row.currency },
        status: readable(&row.status)?,
        created_at: row.created_at,
        expires_at: row.expires_at,
        confirmed_at: row.confirmed_at,
        ticket_code: row.ticket_code,
        customer: serde_json::from_value(row.customer).map_err(unreadable)?,
    })
}

/// Queries orders; what is after `from orders` is written by the caller.
macro_rules! orders {
    ($which:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select show_id, order_id, booking_id, reference, tier, seat_ids, lines, amount,
                   currency, customer, created_at, expires_at, confirmed_at,
                   case when status = 'CONFIRMED' then ticket_code end as ticket_code,
                   case when status = 'PAYMENT_PENDING' and expires_at <= clock_timestamp()
                        then 'EXPIRED' else status::text end as "status!"
               from orders "# + $which,
            $($argument),+
        )
    };
}

/// The order of a booking.
pub async fn of_booking(
    database: impl PgExecutor<'_>,
    show: ShowId,
    booking: BookingId,
) -> StoreResult<Option<Order>> {
    let row = orders!("where show_id = $1 and booking_id = $2", show.0, booking.0);
    row.fetch_optional(database).await?.map(read).transpose()
}

/// The orders made of these bookings; an error for an order that this version cannot read.
pub async fn of_bookings(
    pool: &Pool,
    bookings: &[(ShowId, BookingId)],
) -> StoreResult<HashMap<BookingId, StoreResult<Order>>> {
    if bookings.is_empty() {
        return Ok(HashMap::new());
    }
    let shows: Vec<Uuid> = bookings.iter().map(|(show, _)| show.0).collect();
    let ids: Vec<Uuid> = bookings.iter().map(|(_, booking)| booking.0).collect();
    let rows = orders!(
        "join unnest($1::uuid[], $2::uuid[]) as asked (show_id, booking_id)
             using (show_id, booking_id)",
        &shows,
        &ids,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (BookingId(row.booking_id), read(row))).collect())
}

/// The order with this id, if it is this account's.
pub async fn by_id(
    database: impl PgExecutor<'_>,
    order: OrderId,
    owner: AccountId,
) -> StoreResult<Option<Order>> {
    let row = orders!("where order_id = $1 and account_id = $2", order.0, owner.0);
    row.fetch_optional(database).await?.map(read).transpose()
}

/// The order with this reference, if it is this account's.
pub async fn by_reference(
    pool: &Pool,
    reference: &str,
    owner: AccountId,
) -> StoreResult<Option<Order>> {
    let row = orders!("where reference = $1 and account_id = $2", reference, owner.0);
    row.fetch_optional(pool).await?.map(read).transpose()
}

/// The account's orders, newest first, after this one.
pub async fn of_account(
    pool: &Pool,
    owner: AccountId,
    after: Option<(DateTime<Utc>, OrderId)>,
    limit: i64,
) -> StoreResult<Vec<Order>> {
    let (after_time, after_order) = after.unzip();
    let rows = orders!(
        "where account_id = $1
           and ($2::timestamptz is null or (created_at, order_id) < ($2, $3))
         order by created_at desc, order_id desc
         limit $4",
        owner.0,
        after_time,
        after_order.map(|order| order.0),
        limit,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(read).collect()
}

/// The ticket of a confirmed order of this account.
pub async fn ticket(pool: &Pool, order: OrderId, owner: AccountId) -> StoreResult<Option<Ticket>> {
    let row = sqlx::query!(
        r#"select o.show_id, o.reference, o.tier, o.seat_ids, o.ticket_code as "ticket_code!",
               m.title, t.name as theatre_name, sc.name as screen_name, s.starts_at
           from orders o
           join shows s using (show_id)
           join movies m using (movie_id)
           join theatres t on t.theatre_id = s.theatre_id
           join screens sc on sc.screen_id = s.screen_id
           where o.order_id = $1 and o.account_id = $2 and o.status = 'CONFIRMED'"#,
        order.0,
        owner.0,
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(Ticket {
            ticket_code: row.ticket_code,
            reference: row.reference,
            order_id: order,
            show_id: ShowId(row.show_id),
            movie_title: row.title,
            theatre_name: row.theatre_name,
            screen_name: row.screen_name,
            starts_at: row.starts_at,
            tier: readable(&row.tier)?,
            seat_ids: labels(&row.seat_ids)?,
        })
    })
    .transpose()
}
