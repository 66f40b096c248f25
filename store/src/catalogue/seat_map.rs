//! A show's seats: layout, held seats and sold seats, all at one moment.

use contract::{
    ShowId,
    api::catalogue::{Layout, Price, SeatMap},
};
use sqlx::types::Json;

use super::seats::never_sold;
use crate::{Pool, StoreResult, error::readable};

/// Reads the seat map in one statement, thus from one snapshot. Places of general admission are not
/// listed, because they are in no row; a seat whose hold has lapsed counts as free.
pub async fn read(pool: &Pool, show: ShowId) -> StoreResult<Option<SeatMap>> {
    let row = sqlx::query!(
        r#"with tiers as (select * from partitions where show_id = $1),
           claims as (
               select c.seat_id, c.state, b.expires_at
               from seat_claims c
               join show_seats s using (show_id, seat_id)
               join tiers t on t.tier = s.tier and not t.general_admission
               join bookings b on b.show_id = c.show_id and b.booking_id = c.booking_id
               where c.show_id = $1 and c.state in ('HELD', 'SOLD'))
           select screens.layout as "layout: Json<Layout>",
               (select coalesce(sum(version), 0)::bigint from tiers) as "version!",
               (select jsonb_agg(jsonb_build_object(
                       'tier', tier, 'amount', price, 'currency', shows.currency) order by tier)
                from tiers) as "prices!: Json<Vec<Price>>",
               array(select seat_id from claims where state = 'SOLD' order by 1) as "sold!",
               array(select seat_id from claims
                     where state = 'HELD' and expires_at > clock_timestamp()
                     order by 1) as "held!"
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
