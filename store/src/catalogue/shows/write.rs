//! Writing shows: with their seats, and what an organiser decides about the sale.

use contract::{
    ShowId, TheatreId,
    api::catalogue::{RoomMode, RoomSettings, ScreenDetails, ShowDetails},
};

use crate::{
    Connection, StoreResult,
    catalogue::seats,
    sale::{SaleState, room_mode, sale_state},
};

/// Adds a show with one partition per priced tier and a copy of the screen's seats. There must
/// be a price.
pub async fn insert(
    tx: &mut Connection,
    show: ShowId,
    details: &ShowDetails,
    screen: &ScreenDetails,
) -> StoreResult<()> {
    let room = &details.waiting_room;
    sqlx::query!(
        "insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at,
             prequeue_opens_at, sale_opens_at, sale_closes_at, currency, max_seats_per_user,
             hold_seconds, order_seconds, room_mode, room_rate_per_second, room_burst,
             room_max_active, room_paused, opens_itself)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text::room_mode,
             $14, $15, $16, $17, $7 > clock_timestamp())",
        show.0,
        details.movie_id.0,
        details.theatre_id.0,
        details.screen_id.0,
        details.starts_at,
        details.prequeue_opens_at,
        details.sale_opens_at,
        details.sale_closes_at,
        currency(details),
        details.max_seats_per_user,
        details.hold_seconds,
        details.order_seconds,
        mode_word(room.mode),
        room.rate_per_second,
        room.burst,
        room.max_active,
        room.paused,
    )
    .execute(&mut *tx)
    .await?;
    copy_seats(tx, show, details, screen).await
}

/// Replaces a show that is SCHEDULED, seats and all.
pub async fn replace(
    tx: &mut Connection,
    show: ShowId,
    details: &ShowDetails,
    screen: &ScreenDetails,
) -> StoreResult<()> {
    sqlx::query!("delete from show_seats where show_id = $1", show.0).execute(&mut *tx).await?;
    sqlx::query!("delete from partitions where show_id = $1", show.0).execute(&mut *tx).await?;
    let room = &details.waiting_room;
    sqlx::query!(
        "update shows set movie_id = $2, theatre_id = $3, screen_id = $4, starts_at = $5,
             prequeue_opens_at = $6, sale_opens_at = $7, sale_closes_at = $8, currency = $9,
             max_seats_per_user = $10, hold_seconds = $11, order_seconds = $12,
             room_mode = $13::text::room_mode, room_rate_per_second = $14, room_burst = $15,
             room_max_active = $16, room_paused = $17, opens_itself = $7 > clock_timestamp()
         where show_id = $1",
        show.0,
        details.movie_id.0,
        details.theatre_id.0,
        details.screen_id.0,
        details.starts_at,
        details.prequeue_opens_at,
        details.sale_opens_at,
        details.sale_closes_at,
        currency(details),
        details.max_seats_per_user,
        details.hold_seconds,
        details.order_seconds,
        mode_word(room.mode),
        room.rate_per_second,
        room.burst,
        room.max_active,
        room.paused,
    )
    .execute(&mut *tx)
    .await?;
    copy_seats(tx, show, details, screen).await
}

async fn copy_seats(
    tx: &mut Connection,
    show: ShowId,
    details: &ShowDetails,
    screen: &ScreenDetails,
) -> StoreResult<()> {
    for tier in seats::sold(screen, &details.prices) {
        let capacity = i32::try_from(tier.seats.len()).unwrap_or(i32::MAX);
        sqlx::query!(
            "insert into partitions (show_id, tier, name, price, general_admission, capacity,
                 available)
             values ($1, $2, $3, $4, $5, $6, $6)",
            show.0,
            tier.tier.as_str(),
            tier.name,
            tier.price,
            tier.general_admission,
            capacity,
        )
        .execute(&mut *tx)
        .await?;
        let mut labels = Vec::with_capacity(tier.seats.len());
        let mut rows = Vec::with_capacity(tier.seats.len());
        let mut places = Vec::with_capacity(tier.seats.len());
        let mut kept_back = Vec::with_capacity(tier.seats.len());
        for placed in tier.seats {
            kept_back.push(placed.is_kept_back);
            labels.push(placed.label);
            rows.push(placed.row);
            places.push(placed.seat);
        }
        sqlx::query!(
            "insert into show_seats (show_id, seat_id, tier, row_index, seat_index, kept_back)
             select $1, label, $2, row, seat, kept
             from unnest($3::text[], $4::integer[], $5::integer[], $6::boolean[])
                 as placed (label, row, seat, kept)",
            show.0,
            tier.tier.as_str(),
            &labels,
            &rows,
            &places,
            &kept_back,
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

fn currency(details: &ShowDetails) -> &str {
    details.prices.first().map_or("", |price| price.currency.as_str())
}

/// The theatre of a show.
pub async fn theatre_of(tx: &mut Connection, show: ShowId) -> StoreResult<Option<TheatreId>> {
    let theatre = sqlx::query_scalar!(
        "select theatre_id from shows where show_id = $1 and retired_at is null",
        show.0
    );
    Ok(theatre.fetch_optional(tx).await?.map(TheatreId))
}

/// Reads the state of a sale and locks it until the transaction ends.
pub async fn locked_state(tx: &mut Connection, show: ShowId) -> StoreResult<Option<SaleState>> {
    let state = sqlx::query_scalar!(
        r#"select sale_state::text as "state!" from shows
           where show_id = $1 and retired_at is null for no key update"#,
        show.0
    )
    .fetch_optional(tx)
    .await?;
    state.as_deref().map(sale_state).transpose()
}

/// Puts a show on sale; the allocators now make its queues.
pub async fn open(tx: &mut Connection, show: ShowId) -> StoreResult<()> {
    sqlx::query!("update shows set sale_state = 'ON_SALE' where show_id = $1", show.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// Ends a sale.
pub async fn close(tx: &mut Connection, show: ShowId) -> StoreResult<()> {
    sqlx::query!(
        "update shows set sale_state = 'CLOSED', closed_at = clock_timestamp()
         where show_id = $1",
        show.0
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes a show off the lists.
pub async fn retire(tx: &mut Connection, show: ShowId) -> StoreResult<()> {
    sqlx::query!("update shows set retired_at = clock_timestamp() where show_id = $1", show.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// Reads a waiting room's settings and locks them until the transaction ends.
pub async fn locked_waiting_room(
    tx: &mut Connection,
    show: ShowId,
) -> StoreResult<Option<RoomSettings>> {
    let row = sqlx::query!(
        r#"select room_mode::text as "mode!", room_rate_per_second, room_burst, room_max_active,
               room_paused
           from shows where show_id = $1 and retired_at is null for no key update"#,
        show.0
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(RoomSettings {
        mode: room_mode(&row.mode)?,
        rate_per_second: row.room_rate_per_second,
        burst: row.room_burst,
        max_active: row.room_max_active,
        paused: row.room_paused,
    }))
}

/// Sets a waiting room's settings.
pub async fn set_waiting_room(
    tx: &mut Connection,
    show: ShowId,
    room: &RoomSettings,
) -> StoreResult<()> {
    sqlx::query!(
        "update shows set room_mode = $2::text::room_mode, room_rate_per_second = $3,
             room_burst = $4, room_max_active = $5, room_paused = $6
         where show_id = $1",
        show.0,
        mode_word(room.mode),
        room.rate_per_second,
        room.burst,
        room.max_active,
        room.paused,
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn mode_word(mode: RoomMode) -> &'static str {
    match mode {
        RoomMode::Off => "OFF",
        RoomMode::Fifo => "FIFO",
        RoomMode::Lottery => "LOTTERY",
        RoomMode::Reject => "REJECT",
    }
}
