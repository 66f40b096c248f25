//! Seat locks in Redis: `seat_lock:{<show>}:A1` → booking id. They make a seat that is being
//! decided visible to everybody at once; the database has the last word.
//!
//! Every call may fail or time out, and may have taken effect all the same: a lock is only ever a
//! reason to look closer.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use contract::{BookingId, SeatLabel, ShowId};
use platform::cache::Cache;
use redis::{RedisResult, Script};

static LOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/lock_seats.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/release_seats.lua")));

/// Most seats one script call takes: Redis serves nobody else meanwhile.
const SEATS_PER_CALL_MAX: usize = 500;

fn key(show: ShowId, seat: &SeatLabel) -> String {
    format!("seat_lock:{{{show}}}:{seat}")
}

/// Locks seats for bookings, each seat for the one that is named with it. Returns the seats that
/// another booking has, with that booking.
pub async fn lock(
    cache: &Cache,
    show: ShowId,
    wanted: &[(SeatLabel, BookingId)],
    ttl: Duration,
) -> RedisResult<HashMap<SeatLabel, BookingId>> {
    let mut taken = HashMap::new();
    for part in wanted.chunks(SEATS_PER_CALL_MAX) {
        let holders: Vec<String> = call(cache, &LOCK, show, part, ttl).await?;
        for ((seat, _), holder) in part.iter().zip(holders) {
            if let Ok(holder) = holder.parse() {
                taken.insert(seat.clone(), holder);
            }
        }
    }
    Ok(taken)
}

/// Keeps seats for their bookings for this long, whatever the lock said before: it was decided.
pub async fn keep(
    cache: &Cache,
    show: ShowId,
    won: &[(SeatLabel, BookingId)],
    ttl: Duration,
) -> RedisResult<()> {
    for part in won.chunks(SEATS_PER_CALL_MAX) {
        let mut pipeline = redis::pipe();
        for (seat, booking) in part {
            pipeline
                .cmd("SET")
                .arg(key(show, seat))
                .arg(booking.to_string())
                .arg("PX")
                .arg(millis(ttl))
                .ignore();
        }
        let mut connection = cache.connection()?;
        cache.observe(pipeline.query_async::<()>(&mut connection).await)?;
    }
    Ok(())
}

/// Gives seats back, as far as they are still locked for the booking named with them.
pub async fn release(
    cache: &Cache,
    show: ShowId,
    freed: &[(SeatLabel, BookingId)],
) -> RedisResult<()> {
    for part in freed.chunks(SEATS_PER_CALL_MAX) {
        let _: i64 = call(cache, &RELEASE, show, part, Duration::ZERO).await?;
    }
    Ok(())
}

async fn call<T: redis::FromRedisValue>(
    cache: &Cache,
    script: &Script,
    show: ShowId,
    seats: &[(SeatLabel, BookingId)],
    ttl: Duration,
) -> RedisResult<T> {
    let mut invocation = script.prepare_invoke();
    for (seat, _) in seats {
        invocation.key(key(show, seat));
    }
    invocation.arg(millis(ttl));
    for (_, booking) in seats {
        invocation.arg(booking.to_string());
    }
    let mut connection = cache.connection()?;
    cache.observe(invocation.invoke_async(&mut connection).await)
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}
