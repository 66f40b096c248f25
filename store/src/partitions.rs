//! Partitions: the row that orders every change of a tier's availability, and the fence that
//! keeps displaced allocators out.

mod terms;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contract::{SeatLabel, ShowId, TierCode, topology::Partition};
use platform::faults::{Guarantee, sometimes, without};

pub use terms::Terms;

use crate::{Connection, Pool, StoreError, StoreResult, error::readable};

/// A partition whose row this transaction has locked.
#[derive(Clone, Copy, Debug)]
pub struct Locked {
    pub version: i64,
    /// Postgres's clock, read after the row was locked.
    pub now: DateTime<Utc>,
}

/// The seats that changed with one version.
#[derive(Clone, Debug)]
pub struct PartitionChange {
    pub version: i64,
    /// Postgres's clock.
    pub at: DateTime<Utc>,
    pub claimed: Vec<SeatLabel>,
    pub freed: Vec<SeatLabel>,
}

/// A partition that has, or should have, a queue.
#[derive(Clone, Debug)]
pub struct Queued {
    pub partition: Partition,
    pub ready: bool,
    /// The sale has closed: the queue is drained and then deleted.
    pub closed: bool,
}

/// Locks the partition's row. Comes first in every transaction that changes its availability.
///
/// With an epoch, fails with [`StoreError::StaleEpoch`] if a newer session exists.
pub async fn lock(
    tx: &mut Connection,
    partition: &Partition,
    epoch: Option<i64>,
) -> StoreResult<Locked> {
    let row = sqlx::query!(
        r#"with locked as (
               select version, epoch from partitions
               where show_id = $1 and tier = $2
               for no key update)
           select version, epoch, clock_timestamp() as "now!" from locked"#,
        partition.show.0,
        partition.tier.as_str(),
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| StoreError::Unreadable(format!("partition {partition} does not exist")))?;
    if epoch.is_some_and(|epoch| epoch != row.epoch) && !without(Guarantee::Fence) {
        sometimes("stale epoch refused");
        return Err(StoreError::StaleEpoch);
    }
    Ok(Locked { version: row.version, now: row.now })
}

/// Writes the changed seats under the next version, and returns that version. The row must be
/// locked.
pub async fn record_change(
    tx: &mut Connection,
    partition: &Partition,
    claimed: &[SeatLabel],
    freed: &[SeatLabel],
) -> StoreResult<i64> {
    let text =
        |seats: &[SeatLabel]| seats.iter().map(|s| s.as_str().to_owned()).collect::<Vec<_>>();
    let (claimed, freed) = (text(claimed), text(freed));
    let version = sqlx::query_scalar!(
        "with advanced as (
             update partitions
             set version = version + 1,
                 available = available - cardinality($3::text[]) + cardinality($4::text[])
             where show_id = $1 and tier = $2
             returning version)
         insert into tier_changes (show_id, tier, version, claimed, freed)
         select $1, $2, version, $3, $4 from advanced
         returning version",
        partition.show.0,
        partition.tier.as_str(),
        &claimed,
        &freed,
    )
    .fetch_one(tx)
    .await?;
    Ok(version)
}

/// Every change after version `known` up to version `latest`, oldest first. Fails with
/// [`StoreError::ChangesMissing`] if one is missing: a map then cannot catch up.
pub async fn changes_between(
    tx: &mut Connection,
    partition: &Partition,
    known: i64,
    latest: i64,
) -> StoreResult<Vec<PartitionChange>> {
    let rows = sqlx::query!(
        "select version, at, claimed, freed from tier_changes
         where show_id = $1 and tier = $2 and version > $3 and version <= $4
         order by version",
        partition.show.0,
        partition.tier.as_str(),
        known,
        latest,
    )
    .fetch_all(tx)
    .await?;
    if latest < known || !rows.iter().map(|row| row.version).eq(known + 1..=latest) {
        return Err(StoreError::ChangesMissing { known, latest });
    }
    rows.into_iter()
        .map(|row| {
            Ok(PartitionChange {
                version: row.version,
                at: row.at,
                claimed: labels(&row.claimed)?,
                freed: labels(&row.freed)?,
            })
        })
        .collect()
}

/// Begins a session: earlier sessions can no longer commit. Returns the new epoch.
pub async fn begin_session(pool: &Pool, partition: &Partition, owner: &str) -> StoreResult<i64> {
    let epoch = sqlx::query_scalar!(
        "with begun as (
             update partitions set epoch = epoch + 1, owner = $3
             where show_id = $1 and tier = $2
             returning epoch)
         insert into partition_sessions (show_id, tier, epoch, owner)
         select $1, $2, epoch, $3 from begun
         returning epoch",
        partition.show.0,
        partition.tier.as_str(),
        owner,
    )
    .fetch_one(pool)
    .await?;
    Ok(epoch)
}

/// Every partition that has a queue or should have one, those with the most to decide first.
pub async fn queued(pool: &Pool) -> StoreResult<Vec<Queued>> {
    let rows = sqlx::query!(
        r#"with due as (
               select show_id, tier from partitions where queue_ready_at is not null
               union
               select show_id, tier from shows join partitions using (show_id)
               where sale_state = 'ON_SALE')
           select show_id as "show_id!", tier as "tier!", p.queue_ready_at is not null as "ready!",
               s.sale_state in ('CLOSED', 'CANCELLED') as "closed!"
           from due join partitions p using (show_id, tier) join shows s using (show_id)
               left join backlogs b using (show_id, tier)
           order by b.undecided desc nulls last, s.starts_at"#
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let partition = Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? };
            Ok(Queued { partition, ready: row.ready, closed: row.closed })
        })
        .collect()
}

/// Notes that the partition's queue takes requests. Returns whether this is news.
pub async fn queue_is_ready(pool: &Pool, partition: &Partition) -> StoreResult<bool> {
    let noted = sqlx::query!(
        "update partitions set queue_ready_at = clock_timestamp()
         where show_id = $1 and tier = $2 and queue_ready_at is null",
        partition.show.0,
        partition.tier.as_str(),
    )
    .execute(pool)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// The state of a sale and of one of its queues.
#[derive(Clone, Copy, Debug)]
pub struct SaleStanding {
    /// Postgres's clock.
    pub now: DateTime<Utc>,
    pub is_open: bool,
    /// Whether the queue is there, taking requests or being drained.
    pub is_ready: bool,
    /// Postgres's clock.
    pub closed_at: Option<DateTime<Utc>>,
}

/// The state of these partitions, also of those that do not exist.
pub async fn sale_standings(
    pool: &Pool,
    partitions: &[&Partition],
) -> StoreResult<HashMap<Partition, SaleStanding>> {
    let shows: Vec<uuid::Uuid> = partitions.iter().map(|partition| partition.show.0).collect();
    let tiers: Vec<String> =
        partitions.iter().map(|partition| partition.tier.to_string()).collect();
    let rows = sqlx::query!(
        r#"select show_id as "show_id!", tier as "tier!", clock_timestamp() as "now!",
               coalesce(s.sale_state = 'ON_SALE', false) as "open!",
               p.queue_ready_at is not null as "ready!", s.closed_at as "closed_at?"
           from unnest($1::uuid[], $2::text[]) as asked (show_id, tier)
           left join partitions p using (show_id, tier)
           left join shows s using (show_id)"#,
        &shows,
        &tiers,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let partition = Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? };
            let standing = SaleStanding {
                now: row.now,
                is_open: row.open,
                is_ready: row.ready,
                closed_at: row.closed_at,
            };
            Ok((partition, standing))
        })
        .collect()
}

/// Notes that the partition's queue is deleted. No session needs the changes of its versions any
/// more, so they are deleted, too.
pub async fn queue_is_gone(pool: &Pool, partition: &Partition) -> StoreResult<()> {
    sqlx::query!(
        "with closed as (
             update partitions set queue_ready_at = null where show_id = $1 and tier = $2),
         served as (delete from backlogs where show_id = $1 and tier = $2)
         delete from tier_changes where show_id = $1 and tier = $2",
        partition.show.0,
        partition.tier.as_str(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Puts shows on sale a minute before their sale opens, so that their queues are ready by then, but
/// for shows that somebody has locked. Requests are taken from the opening on. Returns how many.
pub async fn open_due_sales(pool: &Pool) -> StoreResult<u64> {
    // No sale closes later than a day after its show has begun: older ones are not looked at.
    let opened = sqlx::query!(
        "update shows set sale_state = 'ON_SALE'
         where show_id in (
             select show_id from shows
             where sale_state = 'SCHEDULED' and opens_itself and retired_at is null
               and sale_opens_at <= clock_timestamp() + interval '1 minute'
               and sale_closes_at > clock_timestamp()
               and starts_at > statement_timestamp() - interval '1 day'
             for no key update skip locked)"
    )
    .execute(pool)
    .await?;
    Ok(opened.rows_affected())
}

/// Closes sales whose time has come, but for shows that somebody has locked. Returns how many.
pub async fn close_ended_sales(pool: &Pool) -> StoreResult<u64> {
    let closed = sqlx::query!(
        "update shows set sale_state = 'CLOSED', closed_at = clock_timestamp()
         where show_id in (
             select show_id from shows
             where sale_state = 'ON_SALE' and sale_closes_at <= clock_timestamp()
             for no key update skip locked)"
    )
    .execute(pool)
    .await?;
    Ok(closed.rows_affected())
}

pub(crate) fn labels(texts: &[String]) -> StoreResult<Vec<SeatLabel>> {
    texts.iter().map(|text| readable(text)).collect()
}

/// What an allocator needs to know of a partition when it begins.
#[derive(Clone, Debug)]
pub struct OpenedPartition {
    pub version: i64,
    pub terms: Terms,
    /// Every sellable seat; `true` if it has a live claim.
    pub seats: Vec<(SeatRow, bool)>,
}

/// A seat and its place in the hall.
#[derive(Clone, Debug)]
pub struct SeatRow {
    pub label: SeatLabel,
    pub row: i32,
    pub seat: i32,
    /// Only for whoever names it.
    pub is_kept_back: bool,
}

/// Reads a partition's seats and claims, as of one version.
pub async fn open(pool: &Pool, partition: &Partition) -> StoreResult<OpenedPartition> {
    let mut tx = pool.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read, read only")
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query!(
        "select p.version, p.name, p.price, p.general_admission, s.currency,
             s.max_seats_per_user, s.hold_seconds, s.order_seconds
         from partitions p join shows s using (show_id)
         where p.show_id = $1 and p.tier = $2",
        partition.show.0,
        partition.tier.as_str(),
    )
    .fetch_one(&mut *tx)
    .await?;
    let seats = sqlx::query!(
        r#"select seat_id, row_index, seat_index, kept_back,
               exists (select from seat_claims c
                       where c.show_id = s.show_id and c.seat_id = s.seat_id
                         and c.state in ('HELD', 'SOLD')) as "claimed!"
           from show_seats s
           where show_id = $1 and tier = $2
           order by row_index, seat_index, seat_id"#,
        partition.show.0,
        partition.tier.as_str(),
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let seats = seats
        .into_iter()
        .map(|s| {
            let label = readable(&s.seat_id)?;
            let (row, seat, is_kept_back) = (s.row_index, s.seat_index, s.kept_back);
            Ok((SeatRow { label, row, seat, is_kept_back }, s.claimed))
        })
        .collect::<StoreResult<_>>()?;
    let terms = Terms {
        tier_name: row.name,
        price: row.price,
        currency: row.currency,
        general_admission: row.general_admission,
        max_seats_per_user: row.max_seats_per_user,
        hold_seconds: row.hold_seconds,
        order_seconds: row.order_seconds,
    };
    Ok(OpenedPartition { version: row.version, terms, seats })
}

/// Every seat of a partition. Does not change while the show exists.
pub async fn seats_in(pool: &Pool, partition: &Partition) -> StoreResult<Vec<SeatLabel>> {
    let seats = sqlx::query_scalar!(
        "select seat_id from show_seats where show_id = $1 and tier = $2",
        partition.show.0,
        partition.tier.as_str(),
    )
    .fetch_all(pool)
    .await?;
    labels(&seats)
}

/// Which tier each seat of a show belongs to. Does not change while the show exists.
pub async fn seats_of(pool: &Pool, show: ShowId) -> StoreResult<Vec<(SeatLabel, TierCode)>> {
    let rows = sqlx::query!("select seat_id, tier from show_seats where show_id = $1", show.0)
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok((readable(&row.seat_id)?, readable(&row.tier)?))).collect()
}
