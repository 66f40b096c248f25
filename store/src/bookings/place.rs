//! Making an order from a hold.

use contract::{
    AccountId, BookingId, OrderId, SeatLabel, ShowId,
    api::bookings::Customer,
    booking::{Kind, State, Transition},
    message::BookingEvent,
    topology::Partition,
};

use super::{
    codes::new_reference,
    prices::{amount, lines_json},
};
use crate::{
    Connection, StoreResult,
    error::readable,
    orders::of_booking,
    outbox,
    partitions::{Terms, labels},
};

/// The result of placing an order.
#[derive(Debug)]
pub enum Placement {
    /// A new order, or the one that was made from this hold before.
    Placed(Box<contract::api::bookings::Order>),
    /// The hold has lapsed, or was given back.
    HoldExpired,
    /// There is no such hold of this account.
    NoSuchHold,
}

/// Makes the order; a second call returns the first call's order. The order's time limit replaces
/// the hold's. The caller commits.
pub async fn place(
    tx: &mut Connection,
    hold: BookingId,
    owner: AccountId,
    customer: &Customer,
) -> StoreResult<Placement> {
    let row = sqlx::query!(
        r#"select b.show_id, b.tier, b.seat_ids as "seat_ids!", b.state::text as "state!",
               coalesce(b.expires_at > clock_timestamp(), true) as "in_time!",
               p.name, p.price, p.general_admission, s.currency, s.order_seconds,
               s.max_seats_per_user, s.hold_seconds
           from bookings b
           join partitions p using (show_id, tier)
           join shows s using (show_id)
           join accounts a on a.account_id = b.account_id
           where b.booking_id = $1 and b.account_id = $2 and b.kind = 'HOLD'
             and b.status = 'ALLOCATED'
           for no key update of b for key share of a"#,
        hold.0,
        owner.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(Placement::NoSuchHold) };
    let show = ShowId(row.show_id);
    let Ok(pending) = readable::<State>(&row.state)?.after(Transition::Order) else {
        let placed = of_booking(&mut *tx, show, hold).await?;
        let live = |order| State::LIVE.iter().any(|state| state.order_status() == Some(order));
        let placed = placed.filter(|order| live(order.status));
        return Ok(
            placed.map_or(Placement::HoldExpired, |order| Placement::Placed(Box::new(order)))
        );
    };
    if !row.in_time {
        return Ok(Placement::HoldExpired);
    }
    let seats: Vec<SeatLabel> = labels(&row.seat_ids)?;
    let terms = Terms {
        tier_name: row.name,
        price: row.price,
        currency: row.currency,
        general_admission: row.general_admission,
        max_seats_per_user: row.max_seats_per_user,
        hold_seconds: row.hold_seconds,
        order_seconds: row.order_seconds,
    };
    let order = OrderId::new();
    let customer = serde_json::to_value(customer).expect("a customer is plain JSON");
    let moved = sqlx::query!(
        r#"with pending as (
               update bookings
               set state = $10::text::booking_state, seq = seq + 1,
                   expires_at = clock_timestamp() + make_interval(secs => $3)
               where show_id = $1 and booking_id = $2
               returning show_id, booking_id, account_id, tier, seat_ids, seq, expires_at)
           insert into orders (show_id, order_id, booking_id, reference, account_id, tier,
               seat_ids, lines, amount, currency, customer, expires_at)
           select show_id, $4, booking_id, $5, account_id, tier, seat_ids, $6, $7, $8, $9,
               expires_at
           from pending
           returning created_at, (select seq from pending) as "seq!""#,
        show.0,
        hold.0,
        terms.lasts(Kind::Order).as_secs_f64(),
        order.0,
        new_reference(),
        lines_json(&terms, &seats),
        amount(&terms, &seats),
        terms.currency,
        customer,
        pending.as_str(),
    )
    .fetch_one(&mut *tx)
    .await?;
    let partition = Partition { show, tier: readable(&row.tier)? };
    let event = BookingEvent::new(&partition, hold, owner, moved.seq, moved.created_at);
    let event = event.now(pending, seats, Some(order));
    outbox::append(tx, &[event]).await?;
    let placed = of_booking(&mut *tx, show, hold).await?;
    Ok(placed.map_or(Placement::NoSuchHold, |order| Placement::Placed(Box::new(order))))
}
