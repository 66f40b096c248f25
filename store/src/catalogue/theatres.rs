//! Theatres.

use contract::{
    TheatreId,
    api::catalogue::{ScreenName, Theatre, TheatreDetails},
};
use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;

use super::{
    literal::literally,
    to_come::{self, Retirement},
};
use crate::{Connection, Pool, StoreResult};

/// A circle on the earth.
#[derive(Clone, Copy, Debug)]
pub struct Nearby {
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    pub metres: f64,
}

/// Which theatres are wanted; upper or lower case and accents make no difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// A part of the name.
    pub name: Option<&'a str>,
    pub city: Option<&'a str>,
    pub near: Option<Nearby>,
    /// Theatres after the one with this distance, name and id.
    pub after: Option<(i32, &'a str, TheatreId)>,
    /// Most theatres to return.
    pub limit: i64,
}

/// Theatres with their screens and their distance in metres, which is 0 where no place is given: by
/// distance, then by name.
pub async fn list(pool: &Pool, filter: Filter<'_>) -> StoreResult<Vec<(i32, Theatre)>> {
    let rows = sqlx::query!(
        r#"with found as (
               select coalesce(metres_between($3, $4, latitude, longitude), 0)::integer as metres, *
               from theatres
               where retired_at is null
                   and ($1::text is null or folded(name) like '%' || folded($1) || '%')
                   and ($2::text is null or folded(city) = folded($2))
                   and ($5::double precision is null
                       or metres_between($3, $4, latitude, longitude) <= $5))
           select t.metres as "metres!", t.theatre_id as "theatre_id!", t.name as "name!",
               t.address as "address!", t.city as "city!", t.latitude as "latitude!",
               t.longitude as "longitude!", t.time_zone as "time_zone!",
               (select coalesce(
                       jsonb_agg(jsonb_build_object('screenId', s.screen_id, 'name', s.name)
                           order by s.name, s.screen_id), '[]')
                from screens s where s.theatre_id = t.theatre_id and s.retired_at is null
               ) as "screens!: Json<Vec<ScreenName>>"
           from found t
           where $6::integer is null or (t.metres, t.name, t.theatre_id) > ($6, $7, $8)
           order by t.metres, t.name, t.theatre_id
           limit $9"#,
        filter.name.map(literally),
        filter.city,
        filter.near.map(|near| near.latitude),
        filter.near.map(|near| near.longitude),
        filter.near.map(|near| near.metres),
        filter.after.map(|(metres, ..)| metres),
        filter.after.map(|(_, name, _)| name),
        filter.after.map(|(.., theatre)| theatre.0),
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    let found = rows.into_iter().map(|row| {
        let theatre = Row {
            theatre_id: row.theatre_id,
            name: row.name,
            address: row.address,
            city: row.city,
            latitude: row.latitude,
            longitude: row.longitude,
            time_zone: row.time_zone,
            screens: row.screens,
        };
        (row.metres, theatre.into())
    });
    Ok(found.collect())
}

/// Finds a theatre, with its screens.
pub async fn by_id(
    executor: impl PgExecutor<'_>,
    theatre: TheatreId,
) -> StoreResult<Option<Theatre>> {
    let row = sqlx::query_as!(
        Row,
        r#"select t.theatre_id, t.name, t.address, t.city, t.latitude, t.longitude,
               t.time_zone,
               (select coalesce(
                       jsonb_agg(jsonb_build_object('screenId', s.screen_id, 'name', s.name)
                           order by s.name, s.screen_id), '[]')
                from screens s where s.theatre_id = t.theatre_id and s.retired_at is null
               ) as "screens!: Json<Vec<ScreenName>>"
           from theatres t
           where t.theatre_id = $1 and t.retired_at is null"#,
        theatre.0
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(Theatre::from))
}

/// Whether the theatre exists. If so, it cannot be retired before the transaction ends.
pub async fn exists(tx: &mut Connection, theatre: TheatreId) -> StoreResult<bool> {
    let found = sqlx::query!(
        "select theatre_id from theatres
         where theatre_id = $1 and retired_at is null for share",
        theatre.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

/// Adds a theatre.
pub async fn insert(
    tx: &mut Connection,
    theatre: TheatreId,
    details: &TheatreDetails,
) -> StoreResult<()> {
    sqlx::query!(
        "insert into theatres (theatre_id, name, address, city, latitude, longitude, time_zone)
         values ($1, $2, $3, $4, $5, $6, coalesce($7, 'UTC'))",
        theatre.0,
        details.name,
        details.address,
        details.city,
        details.latitude,
        details.longitude,
        details.time_zone,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether PostgreSQL knows this time zone.
pub async fn knows_zone(executor: impl PgExecutor<'_>, name: &str) -> StoreResult<bool> {
    let known = sqlx::query_scalar!(
        r#"select exists (select from pg_timezone_names where name = $1) as "known!""#,
        name
    );
    Ok(known.fetch_one(executor).await?)
}

/// Replaces a theatre's details. Returns whether the theatre exists.
pub async fn change(
    tx: &mut Connection,
    theatre: TheatreId,
    details: &TheatreDetails,
) -> StoreResult<bool> {
    let changed = sqlx::query!(
        "update theatres set name = $2, address = $3, city = $4, latitude = $5, longitude = $6,
             time_zone = coalesce($7, time_zone)
         where theatre_id = $1 and retired_at is null",
        theatre.0,
        details.name,
        details.address,
        details.city,
        details.latitude,
        details.longitude,
        details.time_zone,
    )
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Takes a theatre off the lists. If shows to come need it, the transaction must not be committed.
pub async fn retire(tx: &mut Connection, theatre: TheatreId) -> StoreResult<Retirement> {
    let retired = sqlx::query!(
        "update theatres set retired_at = clock_timestamp()
         where theatre_id = $1 and retired_at is null",
        theatre.0
    )
    .execute(&mut *tx)
    .await?;
    if retired.rows_affected() == 0 {
        return Ok(Retirement::NotFound);
    }
    to_come::retirement(tx, theatre.0).await
}

struct Row {
    theatre_id: Uuid,
    name: String,
    address: String,
    city: String,
    latitude: f64,
    longitude: f64,
    time_zone: String,
    screens: Json<Vec<ScreenName>>,
}

impl From<Row> for Theatre {
    fn from(row: Row) -> Self {
        let details = TheatreDetails {
            name: row.name,
            address: row.address,
            city: row.city,
            latitude: row.latitude,
            longitude: row.longitude,
            time_zone: Some(row.time_zone),
        };
        Self { theatre_id: TheatreId(row.theatre_id), details, screens: row.screens.0 }
    }
}
