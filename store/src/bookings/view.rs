//! Bookings as their owners see them. A lapsed hold or order is shown as lapsed at once, whether
//! or not the sweeper has come by.

use contract::{
    AccountId, BookingId, ShowId,
    api::bookings::{Booking, Hold},
    booking::{HoldStatus, Kind, Limit, Reason, State, Status},
    topology::Partition,
};

use crate::{PgPool, StoreError, StoreResult, error::readable, orders, partitions::labels};

/// A decided booking, and whose it is.
#[derive(Clone, Debug)]
pub struct Seen {
    pub owner: AccountId,
    pub partition: Partition,
    pub kind: Kind,
    pub state: Option<State>,
    pub booking: Booking,
}

/// The booking, if it has been decided.
pub async fn seen(pool: &PgPool, booking: BookingId) -> StoreResult<Option<Seen>> {
    let row = sqlx::query!(
        r#"select show_id, account_id, tier, kind::text as "kind!", status::text as "status!",
               reason::text as reason, limit_hit, taken_seats, alternatives, seat_ids,
               case when state in ('HELD', 'PAYMENT_PENDING') and expires_at <= clock_timestamp()
                    then 'EXPIRED' else state::text end as state,
               expires_at, decided_at
           from bookings where booking_id = $1"#,
        booking.0
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let owner = AccountId(row.account_id);
    let partition = Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? };
    let kind = if row.kind == "HOLD" { Kind::Hold } else { Kind::Order };
    let state = row.state.as_deref().map(read_state).transpose()?;
    let reason = row.reason.as_deref().map(|word| {
        Reason::from_word(word).ok_or_else(|| StoreError::Unreadable(format!("reason {word}")))
    });
    let order = match state {
        Some(_) => orders::of_booking(pool, partition.show, booking).await?,
        None => None,
    };
    let hold = match (kind, state, row.seat_ids, row.expires_at) {
        (Kind::Hold, Some(state), Some(seats), Some(expires_at)) => Some(Hold {
            hold_id: booking,
            show_id: partition.show,
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
        status: if row.status == "ALLOCATED" { Status::Allocated } else { Status::Rejected },
        reason: reason.transpose()?,
        // One that this version does not know is left out: the reason says enough.
        limit: row.limit_hit.as_deref().and_then(Limit::from_word),
        taken_seats: non_empty(row.taken_seats)?,
        alternatives: non_empty(row.alternatives)?,
        hold,
        order,
    };
    Ok(Some(Seen { owner, partition, kind, state, booking }))
}

/// The hold of this account, if there is one.
pub async fn seen_hold(
    pool: &PgPool,
    hold: BookingId,
    owner: AccountId,
) -> StoreResult<Option<(Seen, Hold)>> {
    let seen = seen(pool, hold).await?.filter(|seen| seen.owner == owner);
    Ok(seen.and_then(|seen| seen.booking.hold.clone().map(|hold| (seen, hold))))
}

/// A hold that became an order is no longer held as a hold; the order tells the rest.
fn hold_status(state: State, ordered: bool) -> HoldStatus {
    match state {
        State::Held | State::PaymentPending | State::Confirmed => HoldStatus::Held,
        State::Expired if !ordered => HoldStatus::Expired,
        State::Expired | State::Failed | State::Cancelled | State::Released => HoldStatus::Released,
    }
}

fn read_state(word: &str) -> StoreResult<State> {
    State::from_word(word).ok_or_else(|| StoreError::Unreadable(format!("state {word}")))
}
