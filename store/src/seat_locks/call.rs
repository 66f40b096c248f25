//! The scripts, and how they are called.

use std::sync::LazyLock;

use contract::{SeatLabel, ShowId};
use platform::cache::Cache;
use redis::{RedisResult, Script, ScriptInvocation};

pub(super) static LOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/lock_seats.lua")));
pub(super) static MEND: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/mend_locks.lua")));
pub(super) static SETTLE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/settle_locks.lua")));
pub(super) static CONFIRM: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/confirm_generation.lua")));

/// Most seats in one script call: Redis serves nobody else meanwhile.
pub(super) const SEATS_PER_CALL_MAX: usize = 500;

pub(super) fn key(show: ShowId, seat: &SeatLabel) -> String {
    format!("seat_lock:{{{show}}}:{seat}")
}

pub(super) async fn run<T: redis::FromRedisValue>(
    cache: &Cache,
    call: &ScriptInvocation<'_>,
) -> RedisResult<T> {
    let mut connection = cache.connection()?;
    cache.observe(call.invoke_async(&mut connection).await)
}
