//! Compares the requests that were accepted for a partition with those that were decided, by
//! number, because the broker's counts prove nothing.
//!
//! Ingress reports within a second which numbers the broker has confirmed; a batch writes the
//! numbers it decides in its own transaction. Numbers are kept as sets, so a number that is
//! reported twice changes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{
    ProducerId, ShowId,
    deadline::{BOOKING_DEADLINE, UNDECIDED_GRACE},
    message::Number,
    topology::Partition,
};
use uuid::Uuid;

use crate::{Connection, Pool, StoreResult, error::readable};

/// How long after a producer's last report everything that it accepted is over: it lives for a
/// minute, and may accept a request at the end of it.
const OVER_AFTER: Duration =
    BOOKING_DEADLINE.saturating_add(UNDECIDED_GRACE).saturating_add(UNDECIDED_GRACE);

/// A node that has said nothing for so long is taken for dead.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// A set of numbers, as spans in order that do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<(i64, i64)>);

impl Numbers {
    /// Adds the numbers from `low` to `high`, both included.
    pub fn add(&mut self, mut low: i64, mut high: i64) {
        // Nearly always the new span follows the last one.
        let from = self.0.partition_point(|(_, last)| last.saturating_add(1) < low);
        let to = self.0.partition_point(|(first, _)| *first <= high.saturating_add(1));
        for (first, last) in self.0.drain(from..to) {
            low = low.min(first);
            high = high.max(last);
        }
        self.0.insert(from, (low, high));
    }

    /// Number of spans.
    #[must_use]
    pub fn n_spans(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        for (low, high) in &other.0 {
            self.add(*low, *high);
        }
    }

    /// The set as a PostgreSQL multirange.
    fn text(&self) -> String {
        let spans: Vec<String> =
            self.0.iter().map(|(low, high)| format!("[{low},{high}]")).collect();
        format!("{{{}}}", spans.join(","))
    }
}

/// What a producer reports: the numbers that were confirmed since its last report.
#[derive(Clone, Debug)]
pub struct ProducerReport {
    pub partition: Partition,
    pub producer: ProducerId,
    pub age: Duration,
    /// Confirmed since the producer's last report.
    pub confirmed: Numbers,
    /// Whether no more numbers will come.
    pub is_sealed: bool,
}

/// Writes the reports of producers, whose ages are as of `now` by Postgres's clock. A new producer
/// is written even if it has nothing to report yet.
pub async fn report(
    pool: &Pool,
    now: DateTime<Utc>,
    reports: &[ProducerReport],
) -> StoreResult<()> {
    let shows: Vec<Uuid> = reports.iter().map(|report| report.partition.show.0).collect();
    let tiers: Vec<String> =
        reports.iter().map(|report| report.partition.tier.to_string()).collect();
    let producers: Vec<Uuid> = reports.iter().map(|report| report.producer.0).collect();
    let begun: Vec<DateTime<Utc>> = reports.iter().map(|report| now - report.age).collect();
    let numbers: Vec<String> = reports.iter().map(|report| report.confirmed.text()).collect();
    let sealed: Vec<bool> = reports.iter().map(|report| report.is_sealed).collect();
    sqlx::query!(
        "insert into accepted (show_id, tier, producer_id, began_at, numbers, sealed_at)
         select show_id, tier, producer_id, began_at, numbers::int8multirange,
             case when sealed then clock_timestamp() end
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[],
                 $6::boolean[])
             as told (show_id, tier, producer_id, began_at, numbers, sealed)
         order by show_id, tier, producer_id
         on conflict (show_id, tier, producer_id) do update
         set numbers = accepted.numbers + excluded.numbers, told_at = clock_timestamp(),
             sealed_at = coalesce(accepted.sealed_at, excluded.sealed_at)",
        &shows,
        &tiers,
        &producers,
        &begun,
        &numbers,
        &sealed,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes that a node has reported every producer that it began before `until`.
pub async fn is_reported(pool: &Pool, reporter: Uuid, until: DateTime<Utc>) -> StoreResult<()> {
    sqlx::query!(
        "insert into reporters (reporter_id, complete_until) values ($1, $2)
         on conflict (reporter_id) do update set complete_until = excluded.complete_until",
        reporter,
        until,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether every producer that began before `before` is reported. Not so while a node is silent, which
/// may have stopped, for [`SILENT_MAX`] at most.
pub async fn are_reported_of_before(pool: &Pool, before: DateTime<Utc>) -> StoreResult<bool> {
    let are_reported = sqlx::query_scalar!(
        r#"select not exists (
               select from reporters
               where complete_until < $1
                   and complete_until > statement_timestamp() - make_interval(secs => $2))
               as "are_reported!""#,
        before,
        SILENT_MAX.as_secs_f64(),
    )
    .fetch_one(pool)
    .await?;
    Ok(are_reported)
}

/// Writes that the requests with these numbers are decided. Comes last in the transaction that
/// decides them.
pub async fn are_decided(
    tx: &mut Connection,
    partition: &Partition,
    numbers: impl IntoIterator<Item = Number>,
) -> StoreResult<()> {
    let mut by_producer: BTreeMap<ProducerId, Numbers> = BTreeMap::new();
    for Number { producer, n } in numbers {
        by_producer.entry(producer).or_default().add(n, n);
    }
    if by_producer.is_empty() {
        return Ok(());
    }
    let producers: Vec<Uuid> = by_producer.keys().map(|producer| producer.0).collect();
    let numbers: Vec<String> = by_producer.values().map(Numbers::text).collect();
    sqlx::query!(
        "insert into decided (show_id, tier, producer_id, numbers)
         select $1, $2, producer_id, numbers::int8multirange
         from unnest($3::uuid[], $4::text[]) as d (producer_id, numbers)
         where exists (select from partitions where show_id = $1 and tier = $2)
         order by producer_id
         on conflict (show_id, tier, producer_id) do update
         set numbers = decided.numbers + excluded.numbers",
        partition.show.0,
        partition.tier.as_str(),
        &producers,
        &numbers,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What keeps a closed partition from counting as decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Requests accepted and not decided.
    pub undecided: i64,
    /// Whether a producer is not sealed and its requests may not be over: its node may have died
    /// with confirmed requests that it did not report.
    pub untold: bool,
    /// Whether every request that was accepted before the sale closed has been over for a day.
    pub is_long_over: bool,
}

/// What is open in a partition whose sale has closed.
pub async fn unfinished_in(pool: &Pool, partition: &Partition) -> StoreResult<Unfinished> {
    let row = sqlx::query!(
        r#"select coalesce(sum(u.undecided), 0)::bigint as "undecided!",
               coalesce(bool_or(a.sealed_at is null and a.told_at
                   > clock_timestamp() - make_interval(secs => $3)), false) as "untold!",
               coalesce(s.closed_at < clock_timestamp() - make_interval(secs => $3)
                   - interval '1 day', false) as "long_over!"
           from shows s
           left join accepted a on a.show_id = s.show_id and a.tier = $2
           left join decided d on d.show_id = a.show_id and d.tier = a.tier
               and d.producer_id = a.producer_id
           left join lateral (
               select sum(upper(span) - lower(span)) as undecided
               from unnest(a.numbers - coalesce(d.numbers, '{}')) as span) as u on true
           where s.show_id = $1
           group by s.closed_at"#,
        partition.show.0,
        partition.tier.as_str(),
        OVER_AFTER.as_secs_f64(),
    )
    .fetch_one(pool)
    .await?;
    Ok(Unfinished { undecided: row.undecided, untold: row.untold, is_long_over: row.long_over })
}

/// Whether all requests of the show's reported producers that began before `before` are decided, and
/// none of these producers will accept more. `false` until Postgres's clock has passed `before`.
pub async fn is_decided_of_before(
    pool: &Pool,
    show: ShowId,
    before: DateTime<Utc>,
) -> StoreResult<bool> {
    let is_decided = sqlx::query_scalar!(
        r#"select statement_timestamp() > $2 and not exists (
               select from accepted a left join decided d using (show_id, tier, producer_id)
               where a.show_id = $1 and a.began_at < $2
                   and (a.sealed_at is null and a.told_at
                           > statement_timestamp() - make_interval(secs => $3)
                       or not a.numbers <@ coalesce(d.numbers, '{}'))) as "is_decided!""#,
        show.0,
        before,
        OVER_AFTER.as_secs_f64(),
    )
    .fetch_one(pool)
    .await?;
    Ok(is_decided)
}

/// Whether all requests of the show's reported producers that began before `before`, unless they are
/// over, have numbers. A producer that is not sealed and has reported no number may stand for requests
/// without numbers.
pub async fn is_numbered_of_before(
    pool: &Pool,
    show: ShowId,
    before: DateTime<Utc>,
) -> StoreResult<bool> {
    let is_numbered = sqlx::query_scalar!(
        r#"select not exists (
               select from accepted
               where show_id = $1 and began_at < $2 and sealed_at is null and isempty(numbers)
                   and told_at > statement_timestamp() - make_interval(secs => $3))
               as "is_numbered!""#,
        show.0,
        before,
        OVER_AFTER.as_secs_f64(),
    )
    .fetch_one(pool)
    .await?;
    Ok(is_numbered)
}

/// Number of recently accepted and undecided requests, of each partition that has any.
pub async fn undecided(pool: &Pool) -> StoreResult<HashMap<Partition, i64>> {
    let rows = sqlx::query!(
        r#"select a.show_id, a.tier, sum(upper(span) - lower(span))::bigint as "undecided!"
           from accepted a
           left join decided d using (show_id, tier, producer_id)
           cross join lateral unnest(a.numbers - coalesce(d.numbers, '{}')) as span
           where a.told_at > statement_timestamp() - make_interval(secs => $1)
           group by a.show_id, a.tier"#,
        (BOOKING_DEADLINE + UNDECIDED_GRACE).as_secs_f64(),
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let partition = Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? };
            Ok((partition, row.undecided))
        })
        .collect()
}

/// Deletes producers without a report in the last week whose numbers are all decided, some
/// thousands at a time, and nodes that were silent for so long. Returns how many producers.
pub async fn forget_old(pool: &Pool) -> StoreResult<i64> {
    sqlx::query!(
        "delete from reporters where complete_until < statement_timestamp() - interval '7 days'"
    )
    .execute(pool)
    .await?;
    let mut forgotten = 0;
    loop {
        let deleted = sqlx::query_scalar!(
            r#"with old as (
                 delete from accepted where (show_id, tier, producer_id) in
                     (select show_id, tier, producer_id
                      from accepted a left join decided d using (show_id, tier, producer_id)
                      where a.told_at < statement_timestamp() - interval '7 days'
                        and a.numbers <@ coalesce(d.numbers, '{}')
                      limit 10000)
                 returning show_id, tier, producer_id),
             decided_by_old as (
                 delete from decided d using old
                 where (d.show_id, d.tier, d.producer_id)
                     = (old.show_id, old.tier, old.producer_id))
             select count(*) as "deleted!" from old"#
        )
        .fetch_one(pool)
        .await?;
        forgotten += deleted;
        if deleted == 0 {
            return Ok(forgotten);
        }
    }
}

/// Partitions with accepted requests that have no outcome although their queue is gone or their
/// deadline is over, and how many. Requests that the broker still has are not among them.
pub async fn lost(tx: &mut Connection, show: Option<ShowId>) -> StoreResult<Vec<(Partition, i64)>> {
    let rows = sqlx::query!(
        r#"select a.show_id, a.tier, sum(upper(span) - lower(span))::bigint as "lost!"
           from accepted a
           join partitions p using (show_id, tier)
           left join decided d using (show_id, tier, producer_id)
           cross join lateral unnest(a.numbers - coalesce(d.numbers, '{}')) as span
           where ($1::uuid is null or a.show_id = $1)
             and (p.queue_ready_at is null
                      and a.told_at < clock_timestamp() - interval '10 seconds'
                  or a.told_at < clock_timestamp() - make_interval(secs => $2))
           group by a.show_id, a.tier
           order by a.show_id, a.tier"#,
        show.map(|show| show.0),
        (BOOKING_DEADLINE + UNDECIDED_GRACE).as_secs_f64(),
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let partition = Partition { show: ShowId(row.show_id), tier: readable(&row.tier)? };
            Ok((partition, row.lost))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_those_that_were_added_in_as_few_spans_as_there_are_gaps(
            added in vec((0..40i64, 0..5i64), 0..30),
        ) {
            let (mut numbers, mut plain) = (Numbers::default(), BTreeSet::new());
            for (low, n) in added {
                numbers.add(low, low + n);
                plain.extend(low..=low + n);
            }
            let all: Vec<i64> = numbers.0.iter().flat_map(|(low, high)| *low..=*high).collect();
            prop_assert_eq!(&all, &plain.iter().copied().collect::<Vec<_>>());
            let gaps = all.windows(2).filter(|pair| pair[0] + 1 < pair[1]).count();
            prop_assert_eq!(numbers.n_spans(), if all.is_empty() { 0 } else { gaps + 1 });
        }
    }

    #[test]
    fn the_largest_number_has_no_next_one() {
        let mut numbers = Numbers::default();
        numbers.add(i64::MAX, i64::MAX);
        numbers.add(i64::MAX - 1, i64::MAX - 1);
        numbers.add(2, 3);
        assert_eq!(numbers.text(), format!("{{[2,3],[{},{}]}}", i64::MAX - 1, i64::MAX));
        assert_eq!(Numbers::default().text(), "{}");
    }
}
