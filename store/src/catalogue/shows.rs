//! Shows, as sales and as clients see them.

mod write;

pub use write::{
    close, insert, locked_state, locked_waiting_room, open, replace, retire, set_waiting_room,
    theatre_of,
};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use contract::{
    MovieId, ScreenId, ShowId, TheatreId,
    api::catalogue::{Price, RoomSettings, Show, ShowDetails, TierAvailable},
};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::theatres::Nearby;
use crate::{
    Pool, StoreError, StoreResult,
    error::readable,
    sale::{Sale, TierOnSale, room_mode, sale_state},
};

/// Which shows are wanted. Shows that have begun or were cancelled never are.
///
/// Days and times of day are those of the theatre. Upper or lower case and accents make no difference.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    pub movie: Option<MovieId>,
    pub genre: Option<&'a str>,
    pub language: Option<&'a str>,
    pub theatre: Option<TheatreId>,
    pub city: Option<&'a str>,
    pub near: Option<Nearby>,
    /// The first day.
    pub from: Option<NaiveDate>,
    /// The last day.
    pub until: Option<NaiveDate>,
    /// The earliest time of day.
    pub not_before: Option<NaiveTime>,
    /// Shows begin before this time of day; over midnight, if it is not later than the earliest.
    pub before: Option<NaiveTime>,
    /// The highest price of the cheapest tier, in minor units of the currency.
    pub price_max: Option<(i64, &'a str)>,
    /// Shows after this one, in the order of the list.
    pub after: Option<(DateTime<Utc>, ShowId)>,
    /// Most shows to return.
    pub limit: u16,
}

/// Shows that were found, without those that cannot be read.
#[derive(Clone, Debug)]
pub struct Listed {
    pub sales: Vec<Sale>,
    /// If more shows follow: the last one found, readable or not.
    pub last: Option<(DateTime<Utc>, ShowId)>,
}

/// Shows by start.
pub async fn list(pool: &Pool, filter: Filter<'_>) -> StoreResult<Listed> {
    let (after_start, after_id) = filter.after.unzip();
    let (price_max, currency) = filter.price_max.unzip();
    let limit = usize::from(filter.limit);
    // The second bound of a day is for the index: no time zone is more than a day from UTC.
    let mut found = sqlx::query!(
        "select show_id, starts_at
         from shows join theatres t using (theatre_id) join movies m using (movie_id)
         where shows.retired_at is null and starts_at > clock_timestamp()
             and sale_state <> 'CANCELLED'
             and ($1::uuid is null or movie_id = $1)
             and ($2::text is null or folded(m.genres) @> array[folded($2)])
             and ($3::text is null or folded(m.language) = folded($3))
             and ($4::uuid is null or theatre_id = $4)
             and ($5::text is null or folded(t.city) = folded($5))
             and ($6::double precision is null
                 or metres_between($7, $8, t.latitude, t.longitude) <= $6)
             and ($9::date is null
                 or starts_at >= $9::timestamp at time zone t.time_zone
                     and starts_at >= $9::timestamp at time zone 'UTC' - interval '1 day')
             and ($10::date is null
                 or starts_at < ($10::date + 1)::timestamp at time zone t.time_zone
                     and starts_at < ($10::date + 2)::timestamp at time zone 'UTC')
             and case when coalesce($11::time, '00:00') < coalesce($12::time, '24:00')
                 then (starts_at at time zone t.time_zone)::time >= coalesce($11, '00:00')
                     and (starts_at at time zone t.time_zone)::time < coalesce($12, '24:00')
                 else (starts_at at time zone t.time_zone)::time >= $11
                     or (starts_at at time zone t.time_zone)::time < $12 end
             and ($13::bigint is null
                 or currency = $14
                     and exists (select from partitions p
                                 where p.show_id = shows.show_id and p.price <= $13))
             and ($15::timestamptz is null or (starts_at, show_id) > ($15, $16))
         order by starts_at, show_id
         limit $17",
        filter.movie.map(|movie| movie.0),
        filter.genre,
        filter.language,
        filter.theatre.map(|theatre| theatre.0),
        filter.city,
        filter.near.map(|near| near.metres),
        filter.near.map(|near| near.latitude),
        filter.near.map(|near| near.longitude),
        filter.from,
        filter.until,
        filter.not_before,
        filter.before,
        price_max,
        currency,
        after_start,
        after_id.map(|show| show.0),
        i64::from(filter.limit) + 1,
    )
    .fetch_all(pool)
    .await?;
    let more_follow = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more_follow);
    let last = last.map(|show| (show.starts_at, ShowId(show.show_id)));
    let ids: Vec<Uuid> = found.iter().map(|show| show.show_id).collect();
    Ok(Listed { sales: read(pool, &ids).await?.sales, last })
}

/// Whether there is such a show.
pub async fn exists(pool: &Pool, show: ShowId) -> StoreResult<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from shows where show_id = $1 and retired_at is null) as "found!""#,
        show.0
    );
    Ok(found.fetch_one(pool).await?)
}

/// Finds a show.
pub async fn by_id(executor: impl PgExecutor<'_>, show: ShowId) -> StoreResult<Option<Sale>> {
    Ok(by_ids(executor, &[show]).await?.pop())
}

/// Finds these shows, in order of their start.
pub async fn by_ids(executor: impl PgExecutor<'_>, shows: &[ShowId]) -> StoreResult<Vec<Sale>> {
    let ids: Vec<Uuid> = shows.iter().map(|show| show.0).collect();
    let ShowsFound { sales, mut unreadable } = read(executor, &ids).await?;
    unreadable.pop().map_or(Ok(sales), |(_, why)| Err(why))
}

/// Shows that were read, and those that this version cannot read: one unreadable show must not hide
/// all others.
pub(crate) struct ShowsFound {
    pub(crate) sales: Vec<Sale>,
    pub(crate) unreadable: Vec<(ShowId, StoreError)>,
}

/// Reads these shows, in order of their start; retired shows and shows without a tier are left out.
pub(crate) async fn read(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> StoreResult<ShowsFound> {
    let rows = sqlx::query_as!(
        Row,
        r#"select s.show_id, s.movie_id, s.theatre_id, s.screen_id, s.sale_state::text as "state!",
               s.starts_at, t.time_zone, s.prequeue_opens_at, s.sale_opens_at, s.sale_closes_at, s.currency,
               s.max_seats_per_user, s.hold_seconds, s.order_seconds,
               s.room_mode::text as "room_mode!", s.room_rate_per_second, s.room_burst,
               s.room_max_active, s.room_paused, s.room_version,
               p.tier, p.name, p.price, p.general_admission, p.capacity, p.available, p.version,
               case when p.available > 0 then false
                   else exists (select from bookings b
                                where b.show_id = p.show_id and b.tier = p.tier
                                  and b.state in ('HELD', 'PAYMENT_PENDING'))
               end as "held!",
               p.queue_ready_at is not null as "ready!"
           from shows s join theatres t using (theatre_id) join partitions p using (show_id)
           where s.show_id = any($1) and s.retired_at is null
           order by s.starts_at, s.show_id, p.tier"#,
        ids
    )
    .fetch_all(executor)
    .await?;
    let mut sales: Vec<Sale> = Vec::with_capacity(ids.len());
    let mut unreadable: Vec<(ShowId, StoreError)> = Vec::new();
    // The rows of a show are adjacent.
    for row in rows {
        let show = ShowId(row.show_id);
        if unreadable.last().is_some_and(|(other, _)| *other == show) {
            continue;
        }
        let read = match sales.last_mut() {
            Some(sale) if sale.show == show => row.tier().map(|tier| sale.tiers.push(tier)),
            _ => row.sale().map(|sale| sales.push(sale)),
        };
        if let Err(why) = read {
            sales.pop_if(|sale| sale.show == show);
            unreadable.push((show, why));
        }
    }
    Ok(ShowsFound { sales, unreadable })
}

/// A show as clients see it.
#[must_use]
pub fn as_seen(sale: &Sale, now: DateTime<Utc>) -> Show {
    let available = sale.tiers.iter();
    Show {
        show_id: sale.show,
        status: sale.status(now),
        time_zone: sale.time_zone.clone(),
        available: available
            .map(|tier| TierAvailable { tier: tier.tier.clone(), seats: tier.available })
            .collect(),
        details: ShowDetails {
            movie_id: sale.movie,
            theatre_id: sale.theatre,
            screen_id: sale.screen,
            starts_at: sale.starts_at,
            prequeue_opens_at: sale.prequeue_opens_at,
            sale_opens_at: sale.sale_opens_at,
            sale_closes_at: sale.sale_closes_at,
            prices: prices(sale),
            max_seats_per_user: sale.max_seats_per_user,
            hold_seconds: sale.hold_seconds,
            order_seconds: sale.order_seconds,
            waiting_room: sale.room.clone(),
        },
    }
}

fn prices(sale: &Sale) -> Vec<Price> {
    let price = |tier: &TierOnSale| Price {
        tier: tier.tier.clone(),
        amount: tier.price,
        currency: sale.currency.clone(),
    };
    sale.tiers.iter().map(price).collect()
}

#[expect(clippy::struct_excessive_bools, reason = "columns of a row")]
struct Row {
    show_id: Uuid,
    movie_id: Uuid,
    theatre_id: Uuid,
    screen_id: Uuid,
    state: String,
    starts_at: DateTime<Utc>,
    time_zone: String,
    prequeue_opens_at: Option<DateTime<Utc>>,
    sale_opens_at: DateTime<Utc>,
    sale_closes_at: DateTime<Utc>,
    currency: String,
    max_seats_per_user: i32,
    hold_seconds: i32,
    order_seconds: i32,
    room_mode: String,
    room_rate_per_second: f64,
    room_burst: i32,
    room_max_active: Option<i32>,
    room_paused: bool,
    room_version: i64,
    tier: String,
    name: String,
    price: i64,
    general_admission: bool,
    capacity: i32,
    available: i32,
    held: bool,
    version: i64,
    ready: bool,
}

impl Row {
    fn tier(self) -> StoreResult<TierOnSale> {
        Ok(TierOnSale {
            tier: readable(&self.tier)?,
            name: self.name,
            price: self.price,
            general_admission: self.general_admission,
            capacity: self.capacity,
            available: self.available,
            held: self.held,
            version: self.version,
            ready: self.ready,
        })
    }

    fn sale(mut self) -> StoreResult<Sale> {
        Ok(Sale {
            show: ShowId(self.show_id),
            movie: MovieId(self.movie_id),
            theatre: TheatreId(self.theatre_id),
            screen: ScreenId(self.screen_id),
            state: sale_state(&self.state)?,
            starts_at: self.starts_at,
            time_zone: std::mem::take(&mut self.time_zone),
            prequeue_opens_at: self.prequeue_opens_at,
            sale_opens_at: self.sale_opens_at,
            sale_closes_at: self.sale_closes_at,
            currency: std::mem::take(&mut self.currency),
            max_seats_per_user: self.max_seats_per_user,
            hold_seconds: self.hold_seconds,
            order_seconds: self.order_seconds,
            room: RoomSettings {
                mode: room_mode(&self.room_mode)?,
                rate_per_second: self.room_rate_per_second,
                burst: self.room_burst,
                max_active: self.room_max_active,
                paused: self.room_paused,
            },
            room_version: self.room_version.cast_unsigned(),
            tiers: vec![self.tier()?],
        })
    }
}
