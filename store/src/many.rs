//! Many sales at once, for measurements: made and ended without a call for each sale.

use contract::{ShowId, topology::Partition};

use crate::{Pool, StoreResult, error::readable};

/// Copies made by one statement.
const CHUNK: usize = 50;

/// Makes copies of a show, seats and all, with their sales open.
pub async fn copy_on_sale(pool: &Pool, show: ShowId, copies: usize) -> StoreResult<Vec<ShowId>> {
    let mut made = Vec::with_capacity(copies);
    while made.len() < copies {
        let some = i32::try_from((copies - made.len()).min(CHUNK)).unwrap_or(i32::MAX);
        let shows = sqlx::query_scalar!(
            "with copies as (
                 insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at,
                     prequeue_opens_at, sale_opens_at, sale_closes_at, sale_state, currency,
                     max_seats_per_user, hold_seconds, order_seconds, room_mode,
                     room_rate_per_second, room_burst, room_max_active, room_paused)
                 select gen_random_uuid(), movie_id, theatre_id, screen_id, starts_at,
                     prequeue_opens_at, sale_opens_at, sale_closes_at, 'ON_SALE', currency,
                     max_seats_per_user, hold_seconds, order_seconds, room_mode,
                     room_rate_per_second, room_burst, room_max_active, room_paused
                 from shows cross join generate_series(1, $2) where show_id = $1
                 returning show_id),
             tiers as (
                 insert into partitions (show_id, tier, name, price, general_admission, capacity,
                     available)
                 select copies.show_id, tier, name, price, general_admission, capacity, capacity
                 from copies cross join partitions p where p.show_id = $1
                 returning show_id, tier),
             seats as (
                 insert into show_seats (show_id, seat_id, tier, row_index, seat_index)
                 select tiers.show_id, seat_id, tier, row_index, seat_index
                 from tiers join show_seats s using (tier) where s.show_id = $1)
             select show_id from copies",
            show.0,
            some,
        )
        .fetch_all(pool)
        .await?;
        if shows.is_empty() {
            break;
        }
        made.extend(shows.into_iter().map(ShowId));
    }
    Ok(made)
}

/// Ends every sale. Returns how many.
pub async fn close_all(pool: &Pool) -> StoreResult<u64> {
    let closed = sqlx::query!(
        "update shows set sale_state = 'CLOSED', closed_at = clock_timestamp()
         where sale_state in ('SCHEDULED', 'ON_SALE')"
    )
    .execute(pool)
    .await?;
    Ok(closed.rows_affected())
}

/// The partitions that the allocator of this name serves.
pub async fn served_by(pool: &Pool, name: &str) -> StoreResult<Vec<Partition>> {
    let rows = sqlx::query!(
        "select show_id, tier from backlogs join allocators on allocator_id = served_by
         where name = $1",
        name
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| Ok(Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? }))
        .collect()
}
