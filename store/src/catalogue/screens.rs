//! Screens and their layouts.

use contract::{
    ScreenId, TheatreId,
    api::catalogue::{Layout, Screen, ScreenDetails, ScreenTier},
};
use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;

use super::to_come::{self, Retirement};
use crate::{Connection, StoreResult};

/// Finds a screen.
pub async fn by_id(executor: impl PgExecutor<'_>, screen: ScreenId) -> StoreResult<Option<Screen>> {
    let row = sqlx::query_as!(
        Row,
        r#"select screen_id, theatre_id, name, tiers as "tiers: Json<Vec<ScreenTier>>",
               layout as "layout: Json<Layout>"
           from screens where screen_id = $1 and retired_at is null"#,
        screen.0
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(Screen::from))
}

/// Finds a screen and locks it until the transaction ends.
pub async fn locked(tx: &mut Connection, screen: ScreenId) -> StoreResult<Option<Screen>> {
    let row = sqlx::query_as!(
        Row,
        r#"select screen_id, theatre_id, name, tiers as "tiers: Json<Vec<ScreenTier>>",
               layout as "layout: Json<Layout>"
           from screens where screen_id = $1 and retired_at is null for no key update"#,
        screen.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(Screen::from))
}

/// The theatre of a screen.
pub async fn theatre_of(tx: &mut Connection, screen: ScreenId) -> StoreResult<Option<TheatreId>> {
    let theatre = sqlx::query_scalar!(
        "select theatre_id from screens where screen_id = $1 and retired_at is null",
        screen.0
    );
    Ok(theatre.fetch_optional(tx).await?.map(TheatreId))
}

/// Adds a screen.
pub async fn insert(
    tx: &mut Connection,
    screen: ScreenId,
    details: &ScreenDetails,
) -> StoreResult<()> {
    sqlx::query!(
        "insert into screens (screen_id, theatre_id, name, tiers, layout)
         values ($1, $2, $3, $4, $5)",
        screen.0,
        details.theatre_id.0,
        details.name,
        Json(&details.tiers) as _,
        Json(&details.layout) as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How a change of a screen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenChange {
    Done,
    NotFound,
    /// Shows that have not begun use this layout, so only the name may change.
    InUse,
}

/// Replaces a screen's details.
pub async fn change(
    tx: &mut Connection,
    screen: ScreenId,
    details: &ScreenDetails,
) -> StoreResult<ScreenChange> {
    let known = sqlx::query!(
        r#"select theatre_id = $2 and tiers = $3 and layout = $4 as "same!"
           from screens where screen_id = $1 and retired_at is null for update"#,
        screen.0,
        details.theatre_id.0,
        Json(&details.tiers) as _,
        Json(&details.layout) as _,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(known) = known else { return Ok(ScreenChange::NotFound) };
    if !known.same {
        let used = sqlx::query_scalar!(
            r#"select exists (select from shows
                   where screen_id = $1 and retired_at is null
                       and starts_at > clock_timestamp()) as "used!""#,
            screen.0
        )
        .fetch_one(&mut *tx)
        .await?;
        if used {
            return Ok(ScreenChange::InUse);
        }
    }
    sqlx::query!(
        "update screens set theatre_id = $2, name = $3, tiers = $4, layout = $5
         where screen_id = $1",
        screen.0,
        details.theatre_id.0,
        details.name,
        Json(&details.tiers) as _,
        Json(&details.layout) as _,
    )
    .execute(&mut *tx)
    .await?;
    Ok(ScreenChange::Done)
}

/// Takes a screen off the lists. If shows to come need it, the transaction must not be committed.
pub async fn retire(tx: &mut Connection, screen: ScreenId) -> StoreResult<Retirement> {
    let retired = sqlx::query!(
        "update screens set retired_at = clock_timestamp()
         where screen_id = $1 and retired_at is null",
        screen.0
    )
    .execute(&mut *tx)
    .await?;
    if retired.rows_affected() == 0 {
        return Ok(Retirement::NotFound);
    }
    to_come::retirement(tx, screen.0).await
}

struct Row {
    screen_id: Uuid,
    theatre_id: Uuid,
    name: String,
    tiers: Json<Vec<ScreenTier>>,
    layout: Json<Layout>,
}

impl From<Row> for Screen {
    fn from(row: Row) -> Self {
        let details = ScreenDetails {
            theatre_id: TheatreId(row.theatre_id),
            name: row.name,
            tiers: row.tiers.0,
            layout: row.layout.0,
        };
        Self { screen_id: ScreenId(row.screen_id), details }
    }
}
