//! Claims: which seats a booking has. Ended claims stay as history.

use contract::{BookingId, SeatLabel, ShowId};
use platform::faults::{Guarantee, without};
use uuid::Uuid;

use super::outcome::Decided;
use crate::{Connection, StoreResult, error::all_written};

/// The index that a second live claim on a seat breaks. The map in memory is then wrong, as it is if
/// a seat is not the show's.
const CLAIM_CONFLICT: &str = "seat_claims_one_live";

/// Claims all seats of a batch's winners, or fails.
pub(super) async fn insert(
    tx: &mut Connection,
    show: ShowId,
    winners: &[(&Decided, &[SeatLabel])],
) -> StoreResult<()> {
    let mut claims: Vec<(String, Uuid)> = winners
        .iter()
        .flat_map(|(d, seats)| seats.iter().map(|seat| (seat.as_str().to_owned(), d.booking.0)))
        .collect();
    // Sorted, so that concurrent batches take locks in the same order.
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
    // `on conflict` names the index, so that the statement fails if the index is missing.
    // `offset 0`: seat by seat, by the index (`store::bookings`).
    let inserted = sqlx::query!(
        "insert into seat_claims (show_id, seat_id, booking_id, state)
         select $1, c.seat_id, c.booking_id, 'HELD'
         from unnest($2::text[], $3::uuid[]) as c (seat_id, booking_id)
         cross join lateral (
             select from show_seats where show_id = $1 and seat_id = c.seat_id offset 0) as known
         on conflict (show_id, seat_id) where state in ('HELD', 'SOLD') do nothing",
        show.0,
        &seats,
        &bookings,
    )
    .execute(tx)
    .await?
    .rows_affected();
    all_written(inserted, wanted, CLAIM_CONFLICT)
}

/// Marks the claims of a paid booking as sold.
pub(super) async fn sell(tx: &mut Connection, booking: BookingId) -> StoreResult<()> {
    sqlx::query!(
        "update seat_claims set state = 'SOLD' where booking_id = $1 and state = 'HELD'",
        booking.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends the claims of these bookings, so that their seats are free again.
pub(super) async fn free(tx: &mut Connection, bookings: &[Uuid]) -> StoreResult<()> {
    sqlx::query!(
        "update seat_claims set state = 'RELEASED', ended_at = clock_timestamp()
         where booking_id = any($1) and state in ('HELD', 'SOLD')",
        bookings,
    )
    .execute(tx)
    .await?;
    Ok(())
}
