//! Shows to come: what they keep on the lists, and the screens that they take.

use chrono::{DateTime, Utc};
use contract::{ScreenId, ShowId};
use uuid::Uuid;

use crate::{Connection, StoreResult};

/// How taking something off the lists ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    Done,
    NotFound,
    /// Shows to come need it.
    InUse {
        shows: i64,
        /// The one that begins first.
        first: ShowId,
    },
}

/// What the shows to come say to the retirement of this movie, theatre or screen, whose row must be
/// locked.
pub(crate) async fn retirement(tx: &mut Connection, of: Uuid) -> StoreResult<Retirement> {
    let row = sqlx::query!(
        r#"select count(*) as "shows!", (array_agg(show_id order by starts_at, show_id))[1] as first
           from shows
           where retired_at is null and sale_state <> 'CANCELLED' and starts_at > clock_timestamp()
               and $1 in (movie_id, theatre_id, screen_id)"#,
        of
    )
    .fetch_one(tx)
    .await?;
    Ok(row.first.map_or(Retirement::Done, |first| Retirement::InUse {
        shows: row.shows,
        first: ShowId(first),
    }))
}

/// A show that is in the way of another.
#[derive(Clone, Debug)]
pub struct Overlap {
    pub show: ShowId,
    pub title: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
}

/// The first show on this screen, but `except`, that runs within these minutes from `starts_at`. The
/// screen must be locked, so that no other show is added meanwhile.
pub async fn overlap(
    tx: &mut Connection,
    screen: ScreenId,
    starts_at: DateTime<Utc>,
    minutes: i32,
    except: Option<ShowId>,
) -> StoreResult<Option<Overlap>> {
    // A film lasts 1,000 minutes at most: so the index of starts finds what can be in the way.
    let row = sqlx::query!(
        r#"select show_id, title, starts_at,
               starts_at + make_interval(mins => duration_minutes) as "ends_at!"
           from shows join movies using (movie_id)
           where screen_id = $1 and shows.retired_at is null and sale_state <> 'CANCELLED'
               and show_id is distinct from $4
               and starts_at > $2::timestamptz - interval '1000 minutes'
               and starts_at < $2::timestamptz + make_interval(mins => $3)
               and starts_at + make_interval(mins => duration_minutes) > $2
           order by starts_at, show_id
           limit 1"#,
        screen.0,
        starts_at,
        minutes,
        except.map(|show| show.0),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Overlap {
        show: ShowId(row.show_id),
        title: row.title,
        starts_at: row.starts_at,
        ends_at: row.ends_at,
    }))
}
