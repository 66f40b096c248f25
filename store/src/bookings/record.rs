//! Writing outcomes: winners with their claims, quotas, orders and events; losers as a row and an
//! event.

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId, OrderId, SeatLabel, ShowId, TicketId,
    booking::{Kind, Limit, Reason, State},
    message::BookingEvent,
    topology::Partition,
};
use platform::faults::{Guarantee, failpoint, sometimes, without};
use uuid::Uuid;

use crate::{
    PgConnection, StoreError, StoreResult,
    orders::new_reference,
    outbox,
    partitions::{self, Terms},
    prices::{amount, lines_json},
};

/// A request and what was decided of it.
#[derive(Clone, Debug)]
pub struct Decided {
    pub booking: BookingId,
    pub account: AccountId,
    pub kind: Kind,
    pub ticket: Option<TicketId>,
    /// `None` where the key is another booking's.
    pub idempotency_key: Option<String>,
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allocated {
        seats: Vec<SeatLabel>,
    },
    Rejected {
        reason: Reason,
        /// Which one, where the reason is a limit of the account.
        limit: Option<Limit>,
        taken: Vec<SeatLabel>,
        alternatives: Vec<SeatLabel>,
    },
}

impl Decided {
    /// Whether it was rejected because no seat is left.
    #[must_use]
    pub fn is_sold_out(&self) -> bool {
        matches!(self.outcome, Outcome::Rejected { reason: Reason::SoldOut, .. })
    }
}

impl Outcome {
    /// A rejection without seats to name.
    #[must_use]
    pub fn rejected(reason: Reason) -> Self {
        Self::Rejected { reason, limit: None, taken: Vec::new(), alternatives: Vec::new() }
    }

    /// A rejection because a limit of the account would have been passed.
    #[must_use]
    pub fn over(limit: Limit) -> Self {
        Self::Rejected {
            reason: Reason::LimitExceeded,
            limit: Some(limit),
            taken: Vec::new(),
            alternatives: Vec::new(),
        }
    }
}

/// Seats of a batch's winners that turned out to have a live claim. The map in memory is wrong.
const CLAIM_CONFLICT: &str = "seat_claims_one_live";

/// Writes a batch's outcomes in the order of locks. The partition is locked, the quotas of all
/// winners are. Returns the partition's version afterwards, where seats were claimed.
pub async fn commit_outcomes(
    tx: &mut PgConnection,
    partition: &Partition,
    epoch: i64,
    terms: &Terms,
    decided: &[Decided],
    now: DateTime<Utc>,
) -> StoreResult<Option<i64>> {
    let winners: Vec<(&Decided, &[SeatLabel])> = decided
        .iter()
        .filter_map(|d| match &d.outcome {
            Outcome::Allocated { seats } => Some((d, seats.as_slice())),
            Outcome::Rejected { .. } => None,
        })
        .collect();
    insert_outcomes(tx, partition, epoch, terms, decided).await?;
    failpoint("mid-inserts");
    let mut version = None;
    if !winners.is_empty() {
        insert_claims(tx, partition.show, &winners).await?;
        raise_quotas(tx, partition.show, &winners).await?;
        let claimed: Vec<SeatLabel> =
            winners.iter().flat_map(|(_, seats)| seats.iter().cloned()).collect();
        version = Some(partitions::record_change(tx, partition, &claimed, &[]).await?);
    }
    let order_ids = insert_orders(tx, partition, terms, &winners).await?;
    let events: Vec<BookingEvent> =
        decided.iter().map(|d| event(partition, d, now, &order_ids)).collect();
    outbox::append(tx, &events).await?;
    Ok(version)
}

fn event(
    partition: &Partition,
    decided: &Decided,
    now: DateTime<Utc>,
    orders: &std::collections::HashMap<BookingId, OrderId>,
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

/// Seats as one text: a label has no space in it.
fn joined(seats: &[SeatLabel]) -> Option<String> {
    let texts: Vec<&str> = seats.iter().map(SeatLabel::as_str).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

async fn insert_outcomes(
    tx: &mut PgConnection,
    partition: &Partition,
    epoch: i64,
    terms: &Terms,
    decided: &[Decided],
) -> StoreResult<()> {
    let n = decided.len();
    let mut ids: Vec<Uuid> = Vec::with_capacity(n);
    let mut accounts: Vec<Uuid> = Vec::with_capacity(n);
    let mut kinds: Vec<String> = Vec::with_capacity(n);
    let mut states: Vec<Option<String>> = Vec::with_capacity(n);
    let mut reasons: Vec<Option<String>> = Vec::with_capacity(n);
    let mut limits: Vec<Option<String>> = Vec::with_capacity(n);
    let mut taken: Vec<Option<String>> = Vec::with_capacity(n);
    let mut alternatives: Vec<Option<String>> = Vec::with_capacity(n);
    let mut seats: Vec<Option<String>> = Vec::with_capacity(n);
    let mut tickets: Vec<Option<Uuid>> = Vec::with_capacity(n);
    let mut keys: Vec<Option<String>> = Vec::with_capacity(n);
    let mut seconds: Vec<Option<f64>> = Vec::with_capacity(n);
    for d in decided {
        ids.push(d.booking.0);
        accounts.push(d.account.0);
        kinds.push(d.kind.as_str().to_owned());
        tickets.push(d.ticket.map(|ticket| ticket.0));
        keys.push(d.idempotency_key.clone());
        match &d.outcome {
            Outcome::Allocated { seats: won } => {
                states.push(Some(State::first(d.kind).as_str().to_owned()));
                seconds.push(Some(terms.seconds(d.kind)));
                reasons.push(None);
                limits.push(None);
                taken.push(None);
                alternatives.push(None);
                seats.push(joined(won));
            }
            Outcome::Rejected { reason, limit, taken: lost, alternatives: offered } => {
                states.push(None);
                seconds.push(None);
                reasons.push(Some(reason.as_str().to_owned()));
                limits.push(limit.map(|limit| limit.as_str().to_owned()));
                taken.push(joined(lost));
                alternatives.push(joined(offered));
                seats.push(None);
            }
        }
    }
    sqlx::query!(
        "insert into bookings (show_id, booking_id, account_id, tier, kind, status, reason,
             limit_hit, taken_seats, alternatives, seat_ids, ticket_id, idempotency_key, epoch,
             state, expires_at)
         select $1, booking_id, account_id, $2, kind::booking_kind,
             case when state is null then 'REJECTED' else 'ALLOCATED' end::booking_status,
             reason::rejection, limit_hit, string_to_array(taken, ' '),
             string_to_array(alternatives, ' '), string_to_array(seats, ' '), ticket_id, idempotency_key, $3,
             state::booking_state, clock_timestamp() + make_interval(secs => seconds)
         from unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
                     $10::text[], $11::text[], $12::uuid[], $13::text[], $14::text[],
                     $15::float8[])
             as d (booking_id, account_id, kind, state, reason, taken, alternatives, seats,
                   ticket_id, idempotency_key, limit_hit, seconds)",
        partition.show.0,
        partition.tier.as_str(),
        epoch,
        &ids,
        &accounts,
        &kinds,
        &states as &[Option<String>],
        &reasons as &[Option<String>],
        &taken as &[Option<String>],
        &alternatives as &[Option<String>],
        &seats as &[Option<String>],
        &tickets as &[Option<Uuid>],
        &keys as &[Option<String>],
        &limits as &[Option<String>],
        &seconds as &[Option<f64>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_claims(
    tx: &mut PgConnection,
    show: ShowId,
    winners: &[(&Decided, &[SeatLabel])],
) -> StoreResult<()> {
    let mut claims: Vec<(String, Uuid)> = winners
        .iter()
        .flat_map(|(d, seats)| seats.iter().map(|seat| (seat.as_str().to_owned(), d.booking.0)))
        .collect();
    // Sorted, so that two batches that meet wait for each other in the same order.
    claims.sort_unstable();
    let wanted = claims.len();
    let (seats, bookings): (Vec<String>, Vec<Uuid>) = claims.into_iter().unzip();
    if without(Guarantee::UniqueIndex) {
        sqlx::query!(
            "insert into seat_claims (show_id, seat_id, booking_id, state)
             select $1, seat_id, booking_id, 'HELD'
             from unnest($2::text[], $3::uuid[]) as c (seat_id, booking_id)",
            show.0,
            &seats,
            &bookings,
        )
        .execute(tx)
        .await?;
        return Ok(());
    }
    let inserted = sqlx::query!(
        "insert into seat_claims (show_id, seat_id, booking_id, state)
         select $1, seat_id, booking_id, 'HELD'
         from unnest($2::text[], $3::uuid[]) as c (seat_id, booking_id)
         on conflict (show_id, seat_id) where state in ('HELD', 'SOLD') do nothing",
        show.0,
        &seats,
        &bookings,
    )
    .execute(tx)
    .await?
    .rows_affected();
    if usize::try_from(inserted) == Ok(wanted) {
        return Ok(());
    }
    sometimes("seat conflict at the index");
    Err(StoreError::Constraint {
        constraint: CLAIM_CONFLICT.into(),
        source: sqlx::Error::RowNotFound,
    })
}

async fn raise_quotas(
    tx: &mut PgConnection,
    show: ShowId,
    winners: &[(&Decided, &[SeatLabel])],
) -> StoreResult<()> {
    let accounts: Vec<Uuid> = winners.iter().map(|(d, _)| d.account.0).collect();
    let seats: Vec<i32> = winners
        .iter()
        .map(|(_, seats)| i32::try_from(seats.len()).expect("a request has at most 20 seats"))
        .collect();
    sqlx::query!(
        "update account_quotas q set live = q.live + w.n
         from (select account_id, sum(n)::integer as n
               from unnest($2::uuid[], $3::integer[]) as w (account_id, n)
               group by account_id) as w
         where q.show_id = $1 and q.account_id = w.account_id",
        show.0,
        &accounts,
        &seats,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_orders(
    tx: &mut PgConnection,
    partition: &Partition,
    terms: &Terms,
    winners: &[(&Decided, &[SeatLabel])],
) -> StoreResult<std::collections::HashMap<BookingId, OrderId>> {
    let orders: Vec<(OrderId, &Decided, &[SeatLabel])> = winners
        .iter()
        .filter(|(d, _)| d.kind == Kind::Order)
        .map(|(d, seats)| (OrderId::new(), *d, *seats))
        .collect();
    if orders.is_empty() {
        return Ok(std::collections::HashMap::new());
    }
    let ids: Vec<Uuid> = orders.iter().map(|(id, _, _)| id.0).collect();
    let bookings: Vec<Uuid> = orders.iter().map(|(_, d, _)| d.booking.0).collect();
    let references: Vec<String> = orders.iter().map(|_| new_reference()).collect();
    let lines: Vec<serde_json::Value> =
        orders.iter().map(|(_, _, seats)| lines_json(terms, seats)).collect();
    let amounts: Vec<i64> = orders.iter().map(|(_, _, seats)| amount(terms, seats)).collect();
    sqlx::query!(
        "insert into orders (show_id, order_id, booking_id, reference, account_id, tier, seat_ids,
             lines, amount, currency, customer, expires_at)
         select $1, o.order_id, b.booking_id, o.reference, b.account_id, b.tier, b.seat_ids,
             o.lines, o.amount, $2,
             jsonb_strip_nulls(jsonb_build_object(
                 'name', a.name, 'email', a.email, 'phone', a.phone)),
             b.expires_at
         from unnest($3::uuid[], $4::uuid[], $5::text[], $6::jsonb[], $7::bigint[])
             as o (order_id, booking_id, reference, lines, amount)
         join bookings b on b.show_id = $1 and b.booking_id = o.booking_id
         join accounts a on a.account_id = b.account_id",
        partition.show.0,
        terms.currency,
        &ids,
        &bookings,
        &references,
        &lines,
        &amounts,
    )
    .execute(tx)
    .await?;
    Ok(orders.iter().map(|(id, d, _)| (d.booking, *id)).collect())
}
