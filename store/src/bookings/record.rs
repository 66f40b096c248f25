//! Writing a batch's outcomes: winners with their claims, quotas, orders and events; losers as a
//! row and an event.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contract::{
    BookingId, OrderId, SeatLabel,
    booking::{Kind, State},
    message::BookingEvent,
    topology::Partition,
};
use platform::faults::failpoint;
use uuid::Uuid;

use super::{
    claims,
    codes::new_reference,
    outcome::{Decided, Outcome},
    prices::{amount, lines_json},
    quotas::SeatsInAdvance,
};
use crate::{
    Connection, StoreResult,
    error::all_written,
    outbox,
    partitions::{self, Terms},
};

/// Writes a batch's outcomes in the order of locks. The partition and the quotas of all winners
/// must be locked, and `advance` is what was added to them. Returns the partition's new version, if
/// seats were claimed.
pub async fn write_outcomes(
    tx: &mut Connection,
    partition: &Partition,
    epoch: i64,
    terms: &Terms,
    decided: &[Decided],
    advance: &SeatsInAdvance,
    now: DateTime<Utc>,
) -> StoreResult<Option<i64>> {
    let winners: Vec<(&Decided, &[SeatLabel])> = decided
        .iter()
        .filter_map(|d| match &d.outcome {
            Outcome::Allocated { seats } => Some((d, seats.as_slice())),
            Outcome::Rejected { .. } => None,
        })
        .collect();
    let orders = insert(tx, partition, epoch, terms, decided).await?;
    failpoint("mid-inserts");
    advance.settle(tx, partition.show, &winners).await?;
    let mut version = None;
    if !winners.is_empty() {
        claims::insert(tx, partition.show, &winners).await?;
        let claimed: Vec<SeatLabel> =
            winners.iter().flat_map(|(_, seats)| seats.iter().cloned()).collect();
        version = Some(partitions::record_change(tx, partition, &claimed, &[]).await?);
    }
    let events: Vec<BookingEvent> =
        decided.iter().map(|d| event(partition, d, now, &orders)).collect();
    outbox::append(tx, &events).await?;
    Ok(version)
}

fn event(
    partition: &Partition,
    decided: &Decided,
    now: DateTime<Utc>,
    orders: &HashMap<BookingId, OrderId>,
) -> BookingEvent {
    let event = BookingEvent::new(partition, decided.booking, decided.account, 1, now);
    match &decided.outcome {
        Outcome::Allocated { seats } => {
            let order = orders.get(&decided.booking).copied();
            event.now(State::first(decided.kind), seats.clone(), order)
        }
        Outcome::Rejected { reason, .. } => event.rejected(*reason),
    }
}

/// Outcomes and the orders that come with them, column by column.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    accounts: Vec<Uuid>,
    kinds: Vec<String>,
    tickets: Vec<Option<Uuid>>,
    keys: Vec<Option<String>>,
    states: Vec<Option<String>>,
    /// Seconds until the booking lapses.
    seconds: Vec<Option<f64>>,
    /// Labels separated by spaces, which no label contains.
    seats: Vec<Option<String>>,
    reasons: Vec<Option<String>>,
    limits: Vec<Option<String>>,
    taken: Vec<Option<String>>,
    alternatives: Vec<Option<String>>,
    orders: Vec<Option<Uuid>>,
    references: Vec<Option<String>>,
    lines: Vec<Option<serde_json::Value>>,
    amounts: Vec<Option<i64>>,
}

impl Columns {
    fn push(&mut self, decided: &Decided, terms: &Terms) {
        let (won, lost) = match &decided.outcome {
            Outcome::Allocated { seats } => (Some(seats), None),
            Outcome::Rejected { reason, limit, taken, alternatives } => {
                (None, Some((reason, limit, taken, alternatives)))
            }
        };
        self.ids.push(decided.booking.0);
        self.accounts.push(decided.account.0);
        self.kinds.push(decided.kind.as_str().to_owned());
        self.tickets.push(decided.ticket.map(|ticket| ticket.0));
        self.keys.push(decided.idempotency_key.clone());
        self.states.push(won.map(|_| State::first(decided.kind).as_str().to_owned()));
        self.seconds.push(won.map(|_| terms.lasts(decided.kind).as_secs_f64()));
        self.seats.push(won.and_then(|seats| joined(seats)));
        self.reasons.push(lost.map(|(reason, ..)| reason.as_str().to_owned()));
        self.limits.push(lost.and_then(|(_, limit, ..)| Some((*limit)?.as_str().to_owned())));
        self.taken.push(lost.and_then(|(_, _, taken, _)| joined(taken)));
        self.alternatives.push(lost.and_then(|(.., alternatives)| joined(alternatives)));
        let ordered = won.filter(|_| decided.kind == Kind::Order);
        self.orders.push(ordered.map(|_| OrderId::new().0));
        self.references.push(ordered.map(|_| new_reference()));
        self.lines.push(ordered.map(|seats| lines_json(terms, seats)));
        self.amounts.push(ordered.map(|seats| amount(terms, seats)));
    }

    fn orders(&self) -> HashMap<BookingId, OrderId> {
        let all = self.ids.iter().zip(&self.orders);
        all.filter_map(|(id, order)| Some((BookingId(*id), OrderId((*order)?)))).collect()
    }
}

fn joined(seats: &[SeatLabel]) -> Option<String> {
    let texts: Vec<&str> = seats.iter().map(SeatLabel::as_str).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// Writes the bookings, and the orders of the winners that asked for one.
async fn insert(
    tx: &mut Connection,
    partition: &Partition,
    epoch: i64,
    terms: &Terms,
    decided: &[Decided],
) -> StoreResult<HashMap<BookingId, OrderId>> {
    let mut columns = Columns::default();
    for outcome in decided {
        columns.push(outcome, terms);
    }
    let orders = columns.orders();
    let written = sqlx::query!(
        "with decided as (
             select *, string_to_array(seats, ' ') as seat_ids,
                 clock_timestamp() + make_interval(secs => seconds) as expires_at
             from unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
                     $10::text[], $11::text[], $12::uuid[], $13::text[], $14::text[],
                     $15::float8[], $16::uuid[], $17::text[], $18::jsonb[], $19::bigint[])
                 as d (booking_id, account_id, kind, state, reason, taken, alternatives, seats,
                     ticket_id, idempotency_key, limit_hit, seconds, order_id, reference, lines,
                     amount)),
         outcomes as (
             insert into bookings (show_id, booking_id, account_id, tier, kind, status, reason,
                 limit_hit, taken_seats, alternatives, seat_ids, ticket_id, idempotency_key, epoch,
                 state, expires_at)
             select $1, booking_id, account_id, $2, kind::booking_kind,
                 case when state is null then 'REJECTED' else 'ALLOCATED' end::booking_status,
                 reason::rejection, limit_hit, string_to_array(taken, ' '),
                 string_to_array(alternatives, ' '), seat_ids, ticket_id, idempotency_key, $3,
                 state::booking_state, expires_at
             from decided)
         insert into orders (show_id, order_id, booking_id, reference, account_id, tier, seat_ids,
             lines, amount, currency, customer, expires_at)
         select $1, order_id, booking_id, reference, d.account_id, $2, seat_ids, lines, amount, $20,
             jsonb_strip_nulls(jsonb_build_object(
                 'name', a.name, 'email', a.email, 'phone', a.phone)),
             expires_at
         from decided d join accounts a on a.account_id = d.account_id
         where order_id is not null
         for key share of a",
        partition.show.0,
        partition.tier.as_str(),
        epoch,
        &columns.ids,
        &columns.accounts,
        &columns.kinds,
        &columns.states as &[Option<String>],
        &columns.reasons as &[Option<String>],
        &columns.taken as &[Option<String>],
        &columns.alternatives as &[Option<String>],
        &columns.seats as &[Option<String>],
        &columns.tickets as &[Option<Uuid>],
        &columns.keys as &[Option<String>],
        &columns.limits as &[Option<String>],
        &columns.seconds as &[Option<f64>],
        &columns.orders as &[Option<Uuid>],
        &columns.references as &[Option<String>],
        &columns.lines as &[Option<serde_json::Value>],
        &columns.amounts as &[Option<i64>],
        terms.currency,
    )
    .execute(tx)
    .await?
    .rows_affected();
    all_written(written, orders.len(), "orders_account_exists")?;
    Ok(orders)
}
