//! A show's seats: layout, held seats and sold seats, all at one moment; and what became of some.

use std::collections::HashMap;

use contract::{
    SeatLabel, ShowId,
    api::catalogue::{Layout, Price, SeatMap},
};
use sqlx::types::Json;

use super::seats::never_sold;
use crate::{Pool, StoreResult, error::readable};

/// Reads the seat map in one statement, thus from one snapshot.
pub async fn read(pool: &Pool, show: ShowId) -> StoreResult<Option<SeatMap>> {
    let row = sqlx::query!(
        r#"with tiers as (select * from partitions where show_id = $1),
           taken as (select seat_id, sold from taken_seats where show_id = $1)
           select screens.layout as "layout: Json<Layout>",
               (select coalesce(sum(version), 0)::bigint from tiers) as "version!",
               (select jsonb_agg(jsonb_build_object(
                       'tier', tier, 'amount', price, 'currency', shows.currency) order by tier)
                from tiers) as "prices!: Json<Vec<Price>>",
               array(select seat_id from taken where sold order by 1) as "sold!",
               array(select seat_id from taken where not sold order by 1) as "held!"
           from shows join screens using (screen_id)
           where show_id = $1 and shows.retired_at is null"#,
        show.0
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let labels = |texts: Vec<String>| texts.iter().map(|text| readable(text)).collect();
    let mut unavailable = never_sold(&row.layout, &row.prices);
    let sold: StoreResult<Vec<_>> = labels(row.sold);
    unavailable.extend(sold?);
    Ok(Some(SeatMap {
        show_id: show,
        layout: row.layout.0,
        prices: row.prices.0,
        unavailable_seat_ids: unavailable,
        held_seat_ids: labels(row.held)?,
        version: row.version,
    }))
}

/// What a seat that is not free is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Held,
    Sold,
}

/// The seats of a show that are not free.
pub async fn taken(pool: &Pool, show: ShowId) -> StoreResult<HashMap<SeatLabel, Taken>> {
    let rows = sqlx::query_as!(
        TakenSeat,
        r#"select seat_id as "seat_id!", sold as "sold!" from taken_seats where show_id = $1"#,
        show.0
    );
    rows.fetch_all(pool).await?.into_iter().map(TakenSeat::read).collect()
}

/// Those of these seats that are not free.
pub async fn taken_of(
    pool: &Pool,
    show: ShowId,
    seats: &[SeatLabel],
) -> StoreResult<HashMap<SeatLabel, Taken>> {
    let seats: Vec<String> = seats.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_as!(
        TakenSeat,
        r#"select seat_id as "seat_id!", sold as "sold!" from taken_seats
           where show_id = $1 and seat_id = any($2)"#,
        show.0,
        &seats
    );
    rows.fetch_all(pool).await?.into_iter().map(TakenSeat::read).collect()
}

struct TakenSeat {
    seat_id: String,
    sold: bool,
}

impl TakenSeat {
    fn read(self) -> StoreResult<(SeatLabel, Taken)> {
        let taken = if self.sold { Taken::Sold } else { Taken::Held };
        Ok((readable(&self.seat_id)?, taken))
    }
}
