//! Bookings as their owners see them. A lapsed hold or order is shown as lapsed at once, even
//! before the sweep ends it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId, ShowId,
    api::bookings::{Booking, Hold, Order},
    booking::{HoldStatus, Kind, State},
    topology::Partition,
};
use uuid::Uuid;

use crate::{Pool, StoreResult, error::readable, orders, partitions::labels};

/// A decided booking and its owner.
#[derive(Clone, Debug)]
pub struct View {
    pub owner: AccountId,
    pub partition: Partition,
    pub kind: Kind,
    pub state: Option<State>,
    pub booking: Booking,
}

/// The booking, if it has been decided.
pub async fn view(pool: &Pool, booking: BookingId) -> StoreResult<Option<View>> {
    view_many(pool, &[booking]).await?.by_id.remove(&booking).transpose()
}

/// What is known of some bookings at one moment.
#[derive(Debug)]
pub struct Views {
    /// PostgreSQL's clock when they were read.
    pub now: DateTime<Utc>,
    /// The decided bookings; an error for one that this version cannot read.
    pub by_id: HashMap<BookingId, StoreResult<View>>,
}

struct Row {
    id: Uuid,
    now: DateTime<Utc>,
    show_id: Option<Uuid>,
    account_id: Uuid,
    tier: String,
    kind: String,
    status: String,
    reason: Option<String>,
    limit_hit: Option<String>,
    taken_seats: Option<Vec<String>>,
    alternatives: Option<Vec<String>>,
    seat_ids: Option<Vec<String>>,
    state: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    decided_at: DateTime<Utc>,
}

/// Reads those of these bookings that are decided, in one query, and the orders of the allocated
/// ones in another.
pub async fn view_many(pool: &Pool, bookings: &[BookingId]) -> StoreResult<Views> {
    let ids: Vec<Uuid> = bookings.iter().map(|booking| booking.0).collect();
    // An undecided booking is known by its absent show; the defaults in its other columns are never
    // read.
    let rows = sqlx::query_as!(
        Row,
        r#"select asked.id as "id!", clock_timestamp() as "now!", b.show_id as "show_id?",
               coalesce(b.account_id, asked.id) as "account_id!", coalesce(b.tier, '') as "tier!",
               coalesce(b.kind::text, '') as "kind!", coalesce(b.status::text, '') as "status!",
               b.reason::text as reason, b.limit_hit as "limit_hit?", b.taken_seats as "taken_seats?",
               b.alternatives as "alternatives?", b.seat_ids as "seat_ids?",
               case when b.state in ('HELD', 'PAYMENT_PENDING')
                        and b.expires_at <= clock_timestamp()
                    then 'EXPIRED' else b.state::text end as state,
               b.expires_at as "expires_at?",
               coalesce(b.decided_at, clock_timestamp()) as "decided_at!"
           from unnest($1::uuid[]) as asked (id) left join bookings b on b.booking_id = asked.id"#,
        &ids
    )
    .fetch_all(pool)
    .await?;
    let now = rows.first().map(|row| row.now).unwrap_or_default();
    let mut views = Views { now, by_id: HashMap::new() };
    let decided: Vec<(Row, ShowId)> = rows
        .into_iter()
        .filter_map(|row| row.show_id.map(ShowId).map(|show| (row, show)))
        .collect();
    let allocated: Vec<(ShowId, BookingId)> = decided
        .iter()
        .filter(|(row, _)| row.state.is_some())
        .map(|(row, show)| (*show, BookingId(row.id)))
        .collect();
    let mut orders = orders::of_bookings(pool, &allocated).await?;
    for (row, show) in decided {
        let booking = BookingId(row.id);
        let order = orders.remove(&booking).transpose();
        views.by_id.insert(booking, order.and_then(|order| read(row, show, order)));
    }
    Ok(views)
}

fn read(row: Row, show: ShowId, order: Option<Order>) -> StoreResult<View> {
    let (booking, owner) = (BookingId(row.id), AccountId(row.account_id));
    let partition = Partition { show, tier: readable(&row.tier)? };
    let kind = readable(&row.kind)?;
    let state = row.state.as_deref().map(readable).transpose()?;
    let hold = match (kind, state, row.seat_ids, row.expires_at) {
        (Kind::Hold, Some(state), Some(seats), Some(expires_at)) => Some(Hold {
            hold_id: booking,
            show_id: show,
            user_id: owner,
            tier: partition.tier.clone(),
            seat_ids: labels(&seats)?,
            status: hold_status(state, order.is_some()),
            created_at: row.decided_at,
            expires_at,
        }),
        _ => None,
    };
    let non_empty = |seats: Option<Vec<String>>| seats.as_deref().map(labels).transpose();
    let booking = Booking {
        booking_id: booking,
        status: readable(&row.status)?,
        reason: row.reason.as_deref().map(readable).transpose()?,
        // A limit that this version does not know is left out: the reason says enough.
        limit: row.limit_hit.and_then(|word| word.parse().ok()),
        taken_seats: non_empty(row.taken_seats)?,
        alternatives: non_empty(row.alternatives)?,
        hold,
        order,
    };
    Ok(View { owner, partition, kind, state, booking })
}

/// The hold of this account, if there is one.
pub async fn view_hold(
    pool: &Pool,
    hold: BookingId,
    owner: AccountId,
) -> StoreResult<Option<(View, Hold)>> {
    let view = view(pool, hold).await?.filter(|view| view.owner == owner);
    Ok(view.and_then(|view| view.booking.hold.clone().map(|hold| (view, hold))))
}

/// The status of a hold. A hold that became an order is HELD while the order is live, then
/// RELEASED.
fn hold_status(state: State, ordered: bool) -> HoldStatus {
    match state {
        State::Held | State::PaymentPending | State::Confirmed => HoldStatus::Held,
        State::Expired if !ordered => HoldStatus::Expired,
        State::Expired | State::Failed | State::Cancelled | State::Released => HoldStatus::Released,
    }
}
