//! How far the queues of a show are behind: written by the allocators that serve them, read by the
//! waiting room, which admits visitors by it.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use contract::{ShowId, topology::Partition};
use uuid::Uuid;

use crate::{Pool, StoreResult};

/// What an allocator sees of one queue.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub partition: Partition,
    pub undecided: u32,
    /// When the oldest undecided booking was accepted; `None` if the allocator has none in hand.
    pub oldest_at: Option<DateTime<Utc>>,
    /// For how long the allocator has had no booking in hand although some are in the queue.
    pub idle_for: Option<Duration>,
}

/// How far all queues of a show are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// Bookings accepted and not decided, over all queues.
    pub undecided: i64,
    /// Age of the oldest of them.
    pub oldest: Duration,
    /// Longest time for which no allocator has looked at one of the queues.
    pub silent: Duration,
    /// PostgreSQL's clock when this was read.
    pub now: DateTime<Utc>,
}

/// Writes what this allocator has seen of the queues it serves, and that it has looked at all of
/// them: a queue that has not changed need not be written again.
pub async fn record(pool: &Pool, allocator: Uuid, seen: &[Sighting]) -> StoreResult<()> {
    let shows: Vec<Uuid> = seen.iter().map(|one| one.partition.show.0).collect();
    let tiers: Vec<String> = seen.iter().map(|one| one.partition.tier.to_string()).collect();
    let undecided: Vec<i32> =
        seen.iter().map(|one| i32::try_from(one.undecided).unwrap_or(i32::MAX)).collect();
    let oldest: Vec<Option<DateTime<Utc>>> = seen.iter().map(|one| one.oldest_at).collect();
    let idle: Vec<Option<f64>> =
        seen.iter().map(|one| one.idle_for.map(|idle| idle.as_secs_f64())).collect();
    sqlx::query!(
        "insert into backlogs (show_id, tier, undecided, oldest_at, served_by)
         select show_id, tier, undecided,
             coalesce(oldest_at, clock_timestamp() - make_interval(secs => idle_s)), $6
         from unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::float8[])
             as seen (show_id, tier, undecided, oldest_at, idle_s)
         order by show_id, tier
         on conflict (show_id, tier) do update
         set undecided = excluded.undecided, oldest_at = excluded.oldest_at,
             seen_at = clock_timestamp(), served_by = excluded.served_by",
        &shows,
        &tiers,
        &undecided,
        &oldest as &[Option<DateTime<Utc>>],
        &idle as &[Option<f64>],
        allocator,
    )
    .execute(pool)
    .await?;
    // A statement of its own: a lock on a backlog must not hold up the heartbeat, which is in this
    // row.
    sqlx::query!(
        "update allocators set recorded_at = clock_timestamp() where allocator_id = $1",
        allocator,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Writes that this allocator no longer serves these queues.
pub async fn leave(pool: &Pool, allocator: Uuid, partitions: &[Partition]) -> StoreResult<()> {
    let shows: Vec<Uuid> = partitions.iter().map(|partition| partition.show.0).collect();
    let tiers: Vec<String> =
        partitions.iter().map(|partition| partition.tier.to_string()).collect();
    sqlx::query!(
        "update backlogs b
         set served_by = null, seen_at = greatest(b.seen_at,
             (select recorded_at from allocators where allocator_id = $3))
         from unnest($1::uuid[], $2::text[]) as left_alone (show_id, tier)
         where b.show_id = left_alone.show_id and b.tier = left_alone.tier and served_by = $3",
        &shows,
        &tiers,
        allocator,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// How far the queues of these shows are behind. A queue without a backlog row counts as silent
/// since it was made, because an unknown backlog is not zero. A time in the future, from before the
/// clock was set back, counts by its distance from now.
pub async fn of_lines(pool: &Pool, shows: &[ShowId]) -> StoreResult<HashMap<ShowId, Backlog>> {
    let shows: Vec<Uuid> = shows.iter().map(|show| show.0).collect();
    let rows = sqlx::query!(
        r#"select s.show_id as "show_id!", coalesce(sum(b.undecided), 0) as "undecided!",
               coalesce(max(extract(epoch from statement_timestamp() - b.oldest_at)), 0)::float8
                   as "oldest!",
               coalesce(max(abs(extract(epoch from statement_timestamp() - coalesce(
                   greatest(b.seen_at, coalesce(a.recorded_at, a.heartbeat_at)),
                   p.queue_ready_at)))), 0)::float8 as "silent!",
               statement_timestamp() as "now!"
           from unnest($1::uuid[]) as s (show_id) left join partitions p using (show_id)
               left join backlogs b using (show_id, tier)
               left join allocators a on a.allocator_id = b.served_by
           group by s.show_id"#,
        &shows
    )
    .fetch_all(pool)
    .await?;
    let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 1e6));
    Ok(rows
        .into_iter()
        .map(|row| {
            let backlog = Backlog {
                undecided: row.undecided,
                oldest: seconds(row.oldest),
                silent: seconds(row.silent),
                now: row.now,
            };
            (ShowId(row.show_id), backlog)
        })
        .collect())
}
