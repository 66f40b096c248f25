//! Theatres.

use contract::{
    TheatreId,
    api::catalogue::{ScreenName, Theatre, TheatreDetails},
};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Connection, Pool, StoreResult};

/// Theatres by name, with their screens: those after `after`, at most `limit`.
pub async fn list(
    pool: &Pool,
    after: Option<(&str, TheatreId)>,
    limit: i64,
) -> StoreResult<Vec<Theatre>> {
    let (after_name, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"select t.theatre_id, t.name, t.address, t.city, t.latitude, t.longitude,
               (select coalesce(
                       jsonb_agg(jsonb_build_object('screenId', s.screen_id, 'name', s.name)
                           order by s.name, s.screen_id), '[]')
                from screens s where s.theatre_id = t.theatre_id and s.retired_at is null
               ) as "screens!: Json<Vec<ScreenName>>"
           from theatres t
           where t.retired_at is null and ($1::text is null or (t.name, t.theatre_id) > ($1, $2))
           order by t.name, t.theatre_id
           limit $3"#,
        after_name,
        after_id.map(|theatre| theatre.0),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Theatre::from).collect())
}

/// Finds a theatre, with its screens.
pub async fn by_id(pool: &Pool, theatre: TheatreId) -> StoreResult<Option<Theatre>> {
    let row = sqlx::query_as!(
        Row,
        r#"select t.theatre_id, t.name, t.address, t.city, t.latitude, t.longitude,
               (select coalesce(
                       jsonb_agg(jsonb_build_object('screenId', s.screen_id, 'name', s.name)
                           order by s.name, s.screen_id), '[]')
                from screens s where s.theatre_id = t.theatre_id and s.retired_at is null
               ) as "screens!: Json<Vec<ScreenName>>"
           from theatres t
           where t.theatre_id = $1 and t.retired_at is null"#,
        theatre.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Theatre::from))
}

/// Whether the theatre exists. If so, it cannot be retired before the transaction ends.
pub async fn exists(tx: &mut Connection, theatre: TheatreId) -> StoreResult<bool> {
    let found = sqlx::query!(
        "select theatre_id from theatres
         where theatre_id = $1 and retired_at is null for key share",
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
        "insert into theatres (theatre_id, name, address, city, latitude, longitude)
         values ($1, $2, $3, $4, $5, $6)",
        theatre.0,
        details.name,
        details.address,
        details.city,
        details.latitude,
        details.longitude,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Replaces a theatre's details. Returns whether the theatre exists.
pub async fn change(
    pool: &Pool,
    theatre: TheatreId,
    details: &TheatreDetails,
) -> StoreResult<bool> {
    let changed = sqlx::query!(
        "update theatres set name = $2, address = $3, city = $4, latitude = $5, longitude = $6
         where theatre_id = $1 and retired_at is null",
        theatre.0,
        details.name,
        details.address,
        details.city,
        details.latitude,
        details.longitude,
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Takes a theatre off the lists. Returns whether it was there.
pub async fn retire(pool: &Pool, theatre: TheatreId) -> StoreResult<bool> {
    let retired = sqlx::query!(
        "update theatres set retired_at = clock_timestamp()
         where theatre_id = $1 and retired_at is null",
        theatre.0
    )
    .execute(pool)
    .await?;
    Ok(retired.rows_affected() == 1)
}

struct Row {
    theatre_id: Uuid,
    name: String,
    address: String,
    city: String,
    latitude: f64,
    longitude: f64,
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
        };
        Self { theatre_id: TheatreId(row.theatre_id), details, screens: row.screens.0 }
    }
}
