//! Seat locks in Redis: `seat_lock:{<show>}:A1` → booking id. They show every process at once that
//! a seat is being decided; the database has the last word.
//!
//! A call that failed or timed out may still have taken effect: a lock is only a reason to look
//! closer. A *generation* per partition tells whether the locks are whole: a call that locks must
//! name it, and a flush deletes it with the locks.

mod mirror;
mod call;

use std::time::Duration;

use contract::{BookingId, SeatLabel, ShowId, topology::Partition};
use platform::{cache::Cache, number::millis};
use redis::RedisResult;
use uuid::Uuid;

pub use mirror::mirror;

use call::{CONFIRM, LOCK, MEND, SEATS_PER_CALL_MAX, key, run};

/// A generation that is not confirmed again ends by itself.
const GENERATION_TTL: Duration = Duration::from_hours(1);

/// A time during which the locks of a partition were whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(Uuid);

fn generation_key(partition: &Partition) -> String {
    format!("seat_lock_generation:{{{}}}:{}", partition.show, partition.tier)
}

/// A number that grows with every call of this allocator. If it does not grow, Redis has lost it,
/// or has come back with older data.
pub async fn witness(cache: &Cache, allocator: Uuid) -> RedisResult<i64> {
    let key = format!("seat_lock_witness:{allocator}");
    let mut ask = redis::pipe();
    ask.cmd("INCR").arg(&key);
    ask.cmd("PEXPIRE").arg(&key).arg(millis(GENERATION_TTL)).ignore();
    let mut connection = cache.connection()?;
    let (number,) = cache.observe(ask.query_async::<(i64,)>(&mut connection).await)?;
    Ok(number)
}

/// Locks each seat for the booking named with it, unless it is locked for another. `false` if the
/// locks are no longer whole.
pub async fn lock(
    cache: &Cache,
    partition: &Partition,
    generation: Generation,
    wanted: &[(SeatLabel, BookingId)],
    ttl: Duration,
) -> RedisResult<bool> {
    for part in wanted.chunks(SEATS_PER_CALL_MAX) {
        let mut call = LOCK.key(generation_key(partition));
        call.arg(generation.0.to_string()).arg(millis(ttl));
        for (seat, booking) in part {
            call.key(key(partition.show, seat)).arg(booking.to_string());
        }
        if !run::<bool>(cache, &call).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Releases each seat that is still locked for the booking named with it.
pub async fn release(
    cache: &Cache,
    show: ShowId,
    freed: &[(SeatLabel, BookingId)],
) -> RedisResult<()> {
    for part in freed.chunks(SEATS_PER_CALL_MAX) {
        let mut call = MEND.prepare_invoke();
        for (seat, booking) in part {
            call.key(key(show, seat)).arg(booking.to_string()).arg("").arg(0);
        }
        run::<u64>(cache, &call).await?;
    }
    Ok(())
}

/// Begins a generation, which ends the earlier one. It counts once it is [confirmed](confirm).
pub async fn begin(cache: &Cache, partition: &Partition) -> RedisResult<Generation> {
    let generation = Generation(Uuid::now_v7());
    let mut set = redis::cmd("SET");
    set.arg(generation_key(partition)).arg(format!("begun {}", generation.0));
    set.arg("PX").arg(millis(GENERATION_TTL));
    let mut connection = cache.connection()?;
    cache.observe(set.query_async::<()>(&mut connection).await)?;
    Ok(generation)
}

/// Confirms that the locks are whole. `false` if Redis has lost the generation or another has
/// begun.
pub async fn confirm(
    cache: &Cache,
    partition: &Partition,
    generation: Generation,
) -> RedisResult<bool> {
    let mut call = CONFIRM.key(generation_key(partition));
    call.arg(generation.0.to_string()).arg(millis(GENERATION_TTL));
    run(cache, &call).await
}
