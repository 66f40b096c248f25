//! How far queues are behind, and how fresh that is.

use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use contract::{AccountId, BookingId, ProducerId, message::Number};
use platform::cache::Cache;
use store::{
    acceptance::{self, Numbers, ProducerReport},
    allocators,
    backlogs::{self, Sighting},
    bookings::{self, Fate},
    partitions,
};
use testing::Slot;
use uuid::Uuid;

use crate::stage::Stage;

#[tokio::test]
async fn a_queue_is_silent_since_its_allocator_last_counted_however_lively_that_is() {
    let stage = Stage::build().await;
    let (pool, hall) = (&stage.pool, stage.show().await);
    let silent = async || {
        let silent = backlogs::of_lines(pool, &[hall.show]).await.unwrap()[&hall.show].silent;
        // Rounded down to 30 s, so that the time of the test itself does not count.
        silent.as_secs() / 30 * 30
    };
    let run = async |sql: &'static str| sqlx::query(sql).execute(pool).await.unwrap();
    assert_eq!(silent().await, 0, "it has no queue");
    for partition in &hall.tiers {
        partitions::queue_is_ready(pool, partition).await.unwrap();
    }
    run("update partitions set queue_ready_at = queue_ready_at - interval '2 minutes'").await;
    assert_eq!(silent().await, 120, "nobody has written anything of its queues");

    let me = Uuid::now_v7();
    allocators::beat(pool, me, "an allocator").await.unwrap();
    let seen = |partition| Sighting { partition, undecided: 0, oldest_at: None, idle_for: None };
    let all: Vec<Sighting> = hall.tiers.iter().cloned().map(seen).collect();
    backlogs::record(pool, me, &all[..1]).await.unwrap();
    assert_eq!(silent().await, 120, "nothing is written of one of them");
    backlogs::record(pool, me, &all).await.unwrap();
    assert_eq!(silent().await, 0);

    run("update backlogs set seen_at = seen_at - interval '5 minutes'").await;
    assert_eq!(silent().await, 0, "nothing has changed since");
    run("update allocators set recorded_at = recorded_at - interval '3 minutes'").await;
    allocators::beat(pool, me, "an allocator").await.unwrap();
    assert_eq!(silent().await, 180, "it lives and does not count");
    backlogs::record(pool, me, &[]).await.unwrap();
    assert_eq!(silent().await, 0);
    run("update backlogs set seen_at = seen_at - interval '5 minutes'").await;
    run("update allocators set recorded_at = recorded_at + interval '90 seconds'").await;
    assert_eq!(silent().await, 60, "the clock was set back: it may have died since");
    backlogs::record(pool, me, &[]).await.unwrap();
    assert_eq!(silent().await, 0);
    // An earlier version does not write when it recorded.
    run("update allocators set recorded_at = null").await;
    assert_eq!(silent().await, 0);
}

#[tokio::test]
async fn an_allocator_that_died_before_the_clock_was_set_back_is_not_alive_until_then() {
    let stage = Stage::build().await;
    let (pool, me, other) = (&stage.pool, Uuid::now_v7(), Uuid::now_v7());
    let live = async || allocators::live(pool).await.unwrap();
    for allocator in [me, other] {
        allocators::beat(pool, allocator, "an allocator").await.unwrap();
    }
    assert_eq!(live().await, [me, other]);
    let ahead = "update allocators set heartbeat_at = heartbeat_at + interval '90 seconds'";
    sqlx::query(ahead).execute(pool).await.unwrap();
    allocators::beat(pool, me, "an allocator").await.unwrap();
    assert_eq!(live().await, [me], "the other one has not said so since");
}

#[tokio::test]
async fn what_was_accepted_before_a_moment_is_decided_once_its_producers_are_sealed_and_behind() {
    let stage = Stage::build().await;
    let (pool, hall) = (&stage.pool, stage.show().await);
    let (partition, producer) = (hall.tiers[0].clone(), ProducerId::new());
    let now = async || -> DateTime<Utc> {
        sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap()
    };
    let tell = async |high: Option<i64>, is_sealed| {
        let mut confirmed = Numbers::default();
        if let Some(high) = high {
            confirmed.add(0, high);
        }
        let (partition, age) = (partition.clone(), Duration::ZERO);
        let report = ProducerReport { partition, producer, age, confirmed, is_sealed };
        acceptance::report(pool, now().await, &[report]).await.unwrap();
    };
    let is_decided = async |before: DateTime<Utc>| {
        acceptance::is_decided_of_before(pool, hall.show, before).await.unwrap()
    };
    let earlier = now().await;
    tell(None, false).await;
    tell(Some(2), false).await;
    let later = now().await;
    assert!(is_decided(earlier).await, "it began after that");
    assert!(!is_decided(later + Days::new(1)).await, "who knows what comes until then");
    let numbers = (0..3).map(|n| Number { producer, n });
    let mut tx = pool.begin().await.unwrap();
    acceptance::are_decided(&mut tx, &partition, numbers.clone().take(2)).await.unwrap();
    tx.commit().await.unwrap();
    tell(None, true).await;
    assert!(!is_decided(later).await, "one is not decided");
    let mut tx = pool.begin().await.unwrap();
    acceptance::are_decided(&mut tx, &partition, numbers).await.unwrap();
    tx.commit().await.unwrap();
    assert!(is_decided(later).await);
    let other = ProducerReport {
        partition: partition.clone(),
        producer: ProducerId::new(),
        age: Duration::ZERO,
        confirmed: Numbers::default(),
        is_sealed: false,
    };
    let is_numbered = async |before: DateTime<Utc>| {
        acceptance::is_numbered_of_before(pool, hall.show, before).await.unwrap()
    };
    acceptance::report(pool, now().await, &[other]).await.unwrap();
    assert!(is_decided(later).await && is_numbered(later).await);
    let last = now().await;
    assert!(!is_decided(last).await && !is_numbered(last).await, "it may have accepted something");
    let ages = "update accepted set told_at = told_at - interval '18 minutes'";
    sqlx::query(ages).execute(pool).await.unwrap();
    assert!(is_decided(last).await && is_numbered(last).await, "whatever it was, it is over");
}

#[tokio::test]
async fn a_producer_is_as_old_as_its_node_says_and_its_node_vouches_for_those_it_reported() {
    let stage = Stage::build().await;
    let (pool, hall) = (&stage.pool, stage.show().await);
    let are_reported = async |before: DateTime<Utc>| {
        acceptance::are_reported_of_before(pool, before).await.unwrap()
    };
    let now: DateTime<Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap();
    let [hour, minute, while_silent, second] = [3600, 60, 20, 1].map(Duration::from_secs);
    let report = ProducerReport {
        partition: hall.tiers[0].clone(),
        producer: ProducerId::new(),
        age: hour,
        confirmed: Numbers::default(),
        is_sealed: false,
    };
    acceptance::report(pool, now, &[report]).await.unwrap();
    let is_decided = acceptance::is_decided_of_before(pool, hall.show, now - minute).await.unwrap();
    assert!(!is_decided, "it began an hour ago, though nobody knew");

    assert!(are_reported(now).await, "there is no node");
    let (silent, other) = (Uuid::now_v7(), Uuid::now_v7());
    acceptance::is_reported(pool, silent, now - while_silent).await.unwrap();
    acceptance::is_reported(pool, other, now).await.unwrap();
    assert!(are_reported(now - while_silent).await);
    assert!(!are_reported(now - while_silent + second).await, "one has said nothing since");
    acceptance::is_reported(pool, silent, now - minute).await.unwrap();
    assert!(are_reported(now).await, "it is taken for dead");
}

#[tokio::test]
async fn what_has_expired_of_which_redis_knows_nothing_else_does_not_begin_again() {
    let (slot, booking) = (Slot::take().await, BookingId::new());
    let (pool, cache) = (slot.pool(), Cache::new(&slot.redis_url).unwrap());
    let redis = redis::Client::open(slot.redis_url.as_str()).unwrap();
    let mut redis = redis.get_multiplexed_async_connection().await.unwrap();
    let mut kept_hours = async || -> i64 {
        let ttl = redis::cmd("TTL").arg(format!("booking_looked_for:{booking}")).to_owned();
        ttl.query_async::<i64>(&mut redis).await.unwrap() / 3_600
    };
    let account = AccountId::new();
    let fate =
        async |now| bookings::fate(&pool, &cache, booking, account, None, now).await.unwrap();
    let first = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    assert_eq!(fate(first).await, Fate::Queued);
    assert!((20..=24).contains(&kept_hours().await), "as long as a key");
    for _ in 0..2 {
        assert_eq!(fate(first + Days::new(1)).await, Fate::Expired);
        assert!(kept_hours().await > 24 * 364, "who was told so is told so again");
    }
}

#[tokio::test]
async fn a_queue_that_is_left_is_no_fresher_for_it_and_is_let_go_of_also_by_one_that_was_forgotten()
{
    let stage = Stage::build().await;
    let (pool, hall) = (&stage.pool, stage.show().await);
    let (me, partition) = (Uuid::now_v7(), hall.tiers[0].clone());
    partitions::queue_is_ready(pool, &partition).await.unwrap();
    let one =
        Sighting { partition: partition.clone(), undecided: 0, oldest_at: None, idle_for: None };
    let run = async |sql: &'static str| sqlx::query(sql).execute(pool).await.unwrap();
    for is_forgotten in [false, true] {
        allocators::beat(pool, me, "an allocator").await.unwrap();
        backlogs::record(pool, me, std::slice::from_ref(&one)).await.unwrap();
        run("update backlogs set seen_at = seen_at - interval '5 minutes'").await;
        run("update allocators set recorded_at = recorded_at - interval '5 minutes'").await;
        if is_forgotten {
            run("delete from allocators").await;
        }
        backlogs::leave(pool, me, std::slice::from_ref(&partition)).await.unwrap();
        // The allocator comes back, and no longer serves this queue.
        allocators::beat(pool, me, "an allocator").await.unwrap();
        let silent = backlogs::of_lines(pool, &[hall.show]).await.unwrap()[&hall.show].silent;
        assert!(silent.as_secs() >= 290, "{silent:?}, forgotten: {is_forgotten}");
    }
}
