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

/// Which orders are wanted; an absent field does not restrict.
#[derive(Default)]
struct Wanted<'a> {
    order: Option<OrderId>,
    booking: Option<(ShowId, BookingId)>,
    reference: Option<&'a str>,
    owner: Option<AccountId>,
    after: Option<(DateTime<Utc>, OrderId)>,
}

/// The wanted orders, newest first.
async fn find(
    database: impl PgExecutor<'_>,
    wanted: Wanted<'_>,
    limit: i64,
) -> StoreResult<Vec<Order>> {
    let Wanted { order, booking, reference, owner, after } = wanted;
    let rows = sqlx::query_as!(
        Row,
        r#"select show_id, order_id, booking_id, reference, tier, seat_ids, lines, amount,
               currency, customer, created_at, expires_at, confirmed_at,
               case when status = 'CONFIRMED' then ticket_code end as ticket_code,
               case when status = 'PAYMENT_PENDING' and expires_at <= clock_timestamp()
                    then 'EXPIRED' else status::text end as "status!"
           from orders
           where ($1::uuid is null or order_id = $1)
             and ($2::uuid is null or show_id = $2)
             and ($3::uuid is null or booking_id = $3)
             and ($4::text is null or reference = $4)
             and ($5::uuid is null or account_id = $5)
             and ($6::timestamptz is null or (created_at, order_id) < ($6, $7))
           order by created_at desc, order_id desc
           limit $8"#,
        order.map(|order| order.0),
        booking.map(|(show, _)| show.0),
        booking.map(|(_, booking)| booking.0),
        reference,
        owner.map(|owner| owner.0),
        after.map(|(at, _)| at),
        after.map(|(_, order)| order.0),
        limit,
    )
    .fetch_all(database)
    .await?;
    rows.into_iter().map(read).collect()
}

/// The order of a booking.
pub async fn of_booking(
    database: impl PgExecutor<'_>,
    show: ShowId,
    booking: BookingId,
) -> StoreResult<Option<Order>> {
    let wanted = Wanted { booking: Some((show, booking)), ..Wanted::default() };
    Ok(find(database, wanted, 1).await?.pop())
}

/// The orders of these bookings, as far as they have one; an error for an order that this version
/// cannot read.
pub async fn of_bookings(
    pool: &Pool,
    bookings: &[(ShowId, BookingId)],
) -> StoreResult<HashMap<BookingId, StoreResult<Order>>> {
    if bookings.is_empty() {
        return Ok(HashMap::new());
    }
    let shows: Vec<Uuid> = bookings.iter().map(|(show, _)| show.0).collect();
    let ids: Vec<Uuid> = bookings.iter().map(|(_, booking)| booking.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select o.show_id, o.order_id, o.booking_id, o.reference, o.tier, o.seat_ids, o.lines,
               o.amount, o.currency, o.customer, o.created_at, o.expires_at, o.confirmed_at,
               case when o.status = 'CONFIRMED' then o.ticket_code end as ticket_code,
               case when o.status = 'PAYMENT_PENDING' and o.expires_at <= clock_timestamp()
                    then 'EXPIRED' else o.status::text end as "status!"
           from unnest($1::uuid[], $2::uuid[]) as asked (show_id, booking_id)
           join orders o using (show_id, booking_id)"#,
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
    let wanted = Wanted { order: Some(order), owner: Some(owner), ..Wanted::default() };
    Ok(find(database, wanted, 1).await?.pop())
}

/// The order with this reference, if it is this account's.
pub async fn by_reference(
    pool: &Pool,
    reference: &str,
    owner: AccountId,
) -> StoreResult<Option<Order>> {
    let wanted = Wanted { reference: Some(reference), owner: Some(owner), ..Wanted::default() };
    Ok(find(pool, wanted, 1).await?.pop())
}

/// The account's orders, newest first, after this one.
pub async fn of_account(
    pool: &Pool,
    owner: AccountId,
    after: Option<(DateTime<Utc>, OrderId)>,
    limit: i64,
) -> StoreResult<Vec<Order>> {
    find(pool, Wanted { owner: Some(owner), after, ..Wanted::default() }, limit).await
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
