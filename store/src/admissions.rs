//! The log of admissions: which places were admitted, until when a renewed pass is valid, and
//! whether it was revoked. What Redis knows of admissions can be rebuilt from it.

use chrono::{DateTime, Utc};
use contract::{AccountId, ShowId, TicketId, place_ticket::Place};
use uuid::Uuid;

use crate::{Pool, StoreResult};

/// One admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub ticket: TicketId,
    pub account: AccountId,
    /// Postgres's clock.
    pub admitted_at: DateTime<Utc>,
    /// The end of the pass, if it was renewed.
    pub valid_until: Option<DateTime<Utc>>,
    /// Why the pass can buy nothing more, even if its time is not over.
    pub spent: Option<Spent>,
}

/// How a pass ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Given back by its owner, or revoked.
    Revoked,
    /// An order made with it is confirmed.
    Used,
}

/// Appends admissions to the log and returns them as logged: a place that was already there keeps
/// its first time. An admission that another transaction is just writing may be missing from the
/// answer; append it again.
pub async fn append(pool: &Pool, show: ShowId, places: &[Place]) -> StoreResult<Vec<Admission>> {
    let tickets: Vec<Uuid> = places.iter().map(|place| place.ticket.0).collect();
    let accounts: Vec<Uuid> = places.iter().map(|place| place.account.0).collect();
    let lanes: Vec<i16> = places.iter().map(|place| i16::from(place.lane)).collect();
    let epochs: Vec<i32> = places.iter().map(|place| place.epoch.cast_signed()).collect();
    let numbers: Vec<i64> = places.iter().map(|place| place.number.cast_signed()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"with added as (
               insert into admissions (show_id, ticket_id, account_id, lane, epoch, number)
               select $1, * from unnest($2::uuid[], $3::uuid[], $4::smallint[], $5::integer[], $6::bigint[])
               on conflict do nothing
               returning ticket_id, account_id, admitted_at, valid_until)
           select ticket_id as "ticket_id!", account_id as "account_id!",
               admitted_at as "admitted_at!", valid_until, false as "revoked!", false as "used!"
           from added
           union all
           select ticket_id, account_id, admitted_at, valid_until, revoked_at is not null, false
           from admissions
           where show_id = $1 and ticket_id = any ($2)"#,
        show.0,
        &tickets,
        &accounts,
        &lanes,
        &epochs,
        &numbers,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Admission::from).collect())
}

/// The admissions of these tickets.
pub async fn of_tickets(
    pool: &Pool,
    show: ShowId,
    tickets: &[TicketId],
) -> StoreResult<Vec<Admission>> {
    let tickets: Vec<Uuid> = tickets.iter().map(|ticket| ticket.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select a.ticket_id, a.account_id, a.admitted_at, a.valid_until,
               a.revoked_at is not null as "revoked!",
               pass_is_spent(a.show_id, a.ticket_id) as "used!"
           from admissions a
           where a.show_id = $1 and a.ticket_id = any ($2)"#,
        show.0,
        &tickets,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Admission::from).collect())
}

/// The account's last admission.
pub async fn of_account(
    pool: &Pool,
    show: ShowId,
    account: AccountId,
) -> StoreResult<Option<Admission>> {
    let row = sqlx::query_as!(
        Row,
        r#"select a.ticket_id, a.account_id, a.admitted_at, a.valid_until,
               a.revoked_at is not null as "revoked!",
               pass_is_spent(a.show_id, a.ticket_id) as "used!"
           from admissions a
           where a.show_id = $1 and a.account_id = $2
           order by a.admitted_at desc limit 1"#,
        show.0,
        account.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Admission::from))
}

/// Unspent admissions of a show after this moment and ticket, oldest first.
pub async fn unspent_after(
    pool: &Pool,
    show: ShowId,
    (admitted_at, ticket): (DateTime<Utc>, TicketId),
    at_most: i64,
) -> StoreResult<Vec<Admission>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select a.ticket_id, a.account_id, a.admitted_at, a.valid_until,
               false as "revoked!", false as "used!"
           from admissions a
           where a.show_id = $1 and (a.admitted_at, a.ticket_id) > ($2, $3)
               and a.revoked_at is null
               and not pass_is_spent(a.show_id, a.ticket_id)
           order by a.admitted_at, a.ticket_id
           limit $4"#,
        show.0,
        admitted_at,
        ticket.0,
        at_most,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Admission::from).collect())
}

/// Writes until when a pass was renewed; `false` if it was revoked.
pub async fn renew(
    pool: &Pool,
    show: ShowId,
    ticket: TicketId,
    until: DateTime<Utc>,
) -> StoreResult<bool> {
    let renewed = sqlx::query!(
        "update admissions set valid_until = greatest(valid_until, $3)
         where show_id = $1 and ticket_id = $2 and revoked_at is null",
        show.0,
        ticket.0,
        until,
    )
    .execute(pool)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Revokes a pass. A second call changes nothing.
pub async fn revoke(pool: &Pool, show: ShowId, ticket: TicketId) -> StoreResult<()> {
    sqlx::query!(
        "update admissions set revoked_at = clock_timestamp()
         where show_id = $1 and ticket_id = $2 and revoked_at is null",
        show.0,
        ticket.0,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Passes whose order was confirmed after this moment, oldest first. A row may be committed a few
/// seconds after its `confirmed_at`: ask again from a little earlier.
pub async fn used_after(
    pool: &Pool,
    show: ShowId,
    after: DateTime<Utc>,
    at_most: i64,
) -> StoreResult<Vec<(TicketId, DateTime<Utc>)>> {
    let rows = sqlx::query!(
        r#"select b.ticket_id as "ticket_id!", o.confirmed_at as "confirmed_at!"
           from orders o join bookings b using (show_id, booking_id)
           where o.show_id = $1 and o.confirmed_at > $2
               and b.ticket_id is not null and b.state in ('CONFIRMED', 'CANCELLED')
           order by o.confirmed_at
           limit $3"#,
        show.0,
        after,
        at_most,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (TicketId(row.ticket_id), row.confirmed_at)).collect())
}

/// Those of these tickets whose accounts had a booking decided, either way, since their admission.
pub async fn with_outcome(
    pool: &Pool,
    show: ShowId,
    tickets: &[TicketId],
) -> StoreResult<Vec<TicketId>> {
    let tickets: Vec<Uuid> = tickets.iter().map(|ticket| ticket.0).collect();
    let rows = sqlx::query_scalar!(
        "select ticket_id from admissions a
         where show_id = $1 and ticket_id = any ($2) and exists (
             select from bookings b
             where b.account_id = a.account_id and b.show_id = $1
               and b.decided_at >= a.admitted_at)",
        show.0,
        &tickets,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(TicketId).collect())
}

struct Row {
    ticket_id: Uuid,
    account_id: Uuid,
    admitted_at: DateTime<Utc>,
    valid_until: Option<DateTime<Utc>>,
    revoked: bool,
    used: bool,
}

impl From<Row> for Admission {
    fn from(row: Row) -> Self {
        let spent = match (row.revoked, row.used) {
            (true, _) => Some(Spent::Revoked),
            (false, true) => Some(Spent::Used),
            (false, false) => None,
        };
        Self {
            ticket: TicketId(row.ticket_id),
            account: AccountId(row.account_id),
            admitted_at: row.admitted_at,
            valid_until: row.valid_until,
            spent,
        }
    }
}
