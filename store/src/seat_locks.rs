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

use call::{CONFIRM, LOCK, SEATS_PER_CALL_MAX, SETTLE, key, run};

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

/// A seat that may be locked for a booking whose batch has ended.
#[derive(Clone, Debug)]
pub struct TriedSeat {
    pub seat: SeatLabel,
    pub booking: BookingId,
    /// For how long the booking has the seat; `None` if it did not get it.
    pub lasts: Option<Duration>,
}

/// Ends or prolongs the lock of each seat that is still locked for the booking named with it.
/// Returns the seats that were to stay locked and are not locked for their booking.
pub async fn settle(
    cache: &Cache,
    show: ShowId,
    tried: &[TriedSeat],
) -> RedisResult<Vec<SeatLabel>> {
    let mut others = Vec::new();
    for part in tried.chunks(SEATS_PER_CALL_MAX) {
        let mut call = SETTLE.prepare_invoke();
        for TriedSeat { seat, booking, lasts } in part {
            let ttl = lasts.map_or(0, |lasts| millis(lasts).max(1));
            call.key(key(show, seat)).arg(booking.to_string()).arg(ttl);
        }
        let places: Vec<usize> = run(cache, &call).await?;
        others.extend(places.iter().map(|place| part[place - 1].seat.clone()));
    }
    Ok(others)
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
