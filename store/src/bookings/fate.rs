//! What becomes of a booking that has no row: queued, until its time is over.
//!
//! Redis remembers when each request with a key was last tried. For a request that Redis has
//! forgotten, it remembers the first look at the booking instead. All times are by Postgres's
//! clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId, ShowId, TierCode,
    booking::{Kind, Reason},
    deadline::{BOOKING_DEADLINE, BOOKING_GRACE},
    topology::Partition,
};
use platform::cache::Cache;
use redis::RedisResult;
use serde::{Deserialize, Serialize};

use super::{Refusal, refuse};
use crate::{Pool, StoreResult, bound_keys::REMEMBERED};

/// How long Redis remembers that a booking was shown as expired, if nothing else is known about it.
const END_REMEMBERED: Duration = Duration::from_hours(365 * 24);

/// A request with a key that was, or may have been, put into its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTry {
    pub show: ShowId,
    pub tier: TierCode,
    pub kind: Kind,
    pub key: String,
    pub at: DateTime<Utc>,
}

/// What to answer about a booking without a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Queued,
    /// The booking will not be allocated any more.
    Expired,
}

/// Whether a request tried at `tried_at` is over by `now`, decided or not.
#[must_use]
pub fn is_over(tried_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now > tried_at + BOOKING_DEADLINE + BOOKING_GRACE
}

/// Remembers a try, in a pipeline that is sent to Redis anyway.
pub fn remember(pipeline: &mut redis::Pipeline, booking: BookingId, last: &LastTry) {
    let value = serde_json::to_string(last).expect("a try is plain JSON");
    pipeline.cmd("SET").arg(try_key(booking)).arg(value);
    pipeline.arg("EX").arg(REMEMBERED.as_secs()).ignore();
}

/// The fate of this account's booking, which had no row at `now` on PostgreSQL's clock.
/// `accepted_at` comes from its id.
///
/// A booking with a key whose time is over is refused for good, so that a late delivery finds it
/// decided. If Redis has forgotten the request, its time counts from the first look.
pub async fn fate(
    pool: &Pool,
    cache: &Cache,
    booking: BookingId,
    account: AccountId,
    accepted_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> StoreResult<Fate> {
    let told = |over| if over { Fate::Expired } else { Fate::Queued };
    if let Some(at) = accepted_at {
        return Ok(told(is_over(at, now)));
    }
    let Ok(last) = last_try(cache, booking).await else { return Ok(Fate::Queued) };
    let Some(last) = last else {
        let Ok(first) = first_look(cache, booking, now).await else { return Ok(Fate::Queued) };
        // Written before the answer: a booking that was shown as expired must not be queued again.
        let has_ended = is_over(first, now) && keep_end(cache, booking).await.is_ok();
        return Ok(told(has_ended));
    };
    if !is_over(last.at, now) {
        return Ok(Fate::Queued);
    }
    expire(pool, booking, account, last).await?;
    Ok(Fate::Expired)
}

/// Refuses a booking whose last try is over, for good, unless it is decided.
pub async fn expire(
    pool: &Pool,
    booking: BookingId,
    account: AccountId,
    last: LastTry,
) -> StoreResult<()> {
    let refusal = Refusal {
        partition: Partition { show: last.show, tier: last.tier },
        booking,
        account,
        kind: last.kind,
        idempotency_key: Some(last.key),
        // Without the number, a request that was accepted and lost stays known as lost.
        number: None,
        deadline: None,
        reason: Reason::Expired,
    };
    if refuse(pool, &refusal).await? {
        metrics::counter!("usher_expired_unseen_total").increment(1);
    }
    Ok(())
}

fn try_key(booking: BookingId) -> String {
    format!("booking:{booking}")
}

async fn last_try(cache: &Cache, booking: BookingId) -> RedisResult<Option<LastTry>> {
    let mut connection = cache.connection()?;
    let get = redis::cmd("GET").arg(try_key(booking)).to_owned();
    let found: Option<String> = cache.observe(get.query_async(&mut connection).await)?;
    Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
}

/// When a booking that Redis does not know was first looked at.
async fn first_look(
    cache: &Cache,
    booking: BookingId,
    now: DateTime<Utc>,
) -> RedisResult<DateTime<Utc>> {
    let mut connection = cache.connection()?;
    let mut set = redis::cmd("SET");
    set.arg(first_look_key(booking)).arg(now.timestamp());
    set.arg("EX").arg(REMEMBERED.as_secs()).arg("NX").arg("GET");
    let first: Option<i64> = cache.observe(set.query_async(&mut connection).await)?;
    Ok(first.and_then(|second| DateTime::from_timestamp(second, 0)).unwrap_or(now))
}

/// Keeps the first look at an expired booking for longer.
async fn keep_end(cache: &Cache, booking: BookingId) -> RedisResult<()> {
    let mut connection = cache.connection()?;
    let mut expire = redis::cmd("EXPIRE");
    expire.arg(first_look_key(booking)).arg(END_REMEMBERED.as_secs());
    cache.observe(expire.query_async(&mut connection).await)
}

fn first_look_key(booking: BookingId) -> String {
    format!("booking_looked_for:{booking}")
}
