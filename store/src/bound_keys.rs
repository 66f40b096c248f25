//! Which request an `Idempotency-Key` is bound to, as Redis remembers it for a day, and since when
//! Redis remembers every key.
//!
//! The first request that is carried out binds its key. If the memory is old enough
//! ([`KeyMemory::is_whole_for`]), a key that is not bound was never used.

use std::{sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use contract::{AccountId, ShowId};
use platform::cache::Cache;
use redis::{RedisError, RedisResult, Script};
use serde::{Deserialize, Serialize};

/// How long a key is remembered.
pub const REMEMBERED: Duration = Duration::from_hours(24);
/// How far PostgreSQL's clock may have jumped between two moments that are compared.
const JUMP_MAX: Duration = Duration::from_mins(2);

static SINCE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/remembered_since.lua")));
static SWAP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/swap_binding.lua")));

/// What a key is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Identifies the request: another method, path or body gives another text.
    pub request: String,
    pub state: BindingState,
    /// When the request was last tried, by PostgreSQL's clock.
    pub at: DateTime<Utc>,
}

/// How far a request with a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BindingState {
    /// A node is carrying the request out, or died meanwhile.
    Trying,
    /// It is not known whether the request was carried out.
    Unknown,
    Done,
}

/// What Redis knows of a key.
#[derive(Clone, Debug)]
pub struct KeyMemory {
    pub binding: Option<Binding>,
    /// Redis knows every key used from this moment on, by PostgreSQL's clock.
    pub since: DateTime<Utc>,
    /// What a node of an earlier version wrote for the key: the booking, with a mark if its
    /// acceptance is unknown.
    pub older: Option<String>,
}

impl KeyMemory {
    /// Whether Redis remembers every use of a key from `used_from` on.
    #[must_use]
    pub fn is_whole_for(&self, used_from: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.since + REMEMBERED <= now || self.since + JUMP_MAX <= used_from
    }
}

/// Binds a key that is free; otherwise returns what it is bound to.
pub async fn bind(
    cache: &Cache,
    account: AccountId,
    key: &str,
    binding: &Binding,
) -> RedisResult<Option<Binding>> {
    let mut connection = cache.connection()?;
    let mut set = redis::cmd("SET");
    set.arg(binding_key(account, key)).arg(text(binding));
    set.arg("EX").arg(REMEMBERED.as_secs()).arg("NX").arg("GET");
    let before: Option<String> = cache.observe(set.query_async(&mut connection).await)?;
    before.as_deref().map(read).transpose()
}

/// What Redis knows of a key that came with a request for this show.
pub async fn look(
    cache: &Cache,
    account: AccountId,
    show: Option<ShowId>,
    key: &str,
    now: DateTime<Utc>,
) -> RedisResult<KeyMemory> {
    let older = show.map(|show| format!("idempotency:{{{show}}}:{account}:{key}"));
    let keys: Vec<String> = std::iter::once(binding_key(account, key)).chain(older).collect();
    remember_since(cache, &keys, now).await
}

/// Makes the memory begin anew, because a key was used and Redis was not told. Works even if Redis
/// is full.
pub async fn begin_anew(cache: &Cache) -> RedisResult<()> {
    let mut connection = cache.connection()?;
    let forget = redis::cmd("DEL").arg("idempotency_since").to_owned();
    cache.observe(forget.query_async(&mut connection).await)
}

/// Makes Redis note since when it remembers. Call it now and then, so that after a loss the memory
/// begins again soon.
pub async fn tend(cache: &Cache, now: DateTime<Utc>) -> RedisResult<()> {
    remember_since(cache, &[], now).await.map(drop)
}

async fn remember_since(
    cache: &Cache,
    keys: &[String],
    now: DateTime<Utc>,
) -> RedisResult<KeyMemory> {
    let mut connection = cache.connection()?;
    let mut call = SINCE.key("idempotency_since");
    for key in keys {
        call.key(key);
    }
    call.arg(now.timestamp_millis());
    let (binding, since, older): (Option<String>, i64, Option<String>) =
        cache.observe(call.invoke_async(&mut connection).await)?;
    Ok(KeyMemory {
        binding: binding.as_deref().map(read).transpose()?,
        since: DateTime::from_timestamp_millis(since).unwrap_or(now),
        older,
    })
}

/// Changes what a key is bound to, or frees it, unless the binding has changed meanwhile.
pub async fn swap(
    cache: &Cache,
    account: AccountId,
    key: &str,
    from: &Binding,
    to: Option<&Binding>,
) -> RedisResult<bool> {
    let mut connection = cache.connection()?;
    let mut call = SWAP.key(binding_key(account, key));
    call.arg(text(from)).arg(to.map(text).unwrap_or_default()).arg(REMEMBERED.as_secs());
    cache.observe(call.invoke_async(&mut connection).await)
}

/// Binds a key, even one that is bound, in a pipeline that is sent to Redis anyway.
pub fn rebind(pipeline: &mut redis::Pipeline, account: AccountId, key: &str, binding: &Binding) {
    pipeline.cmd("SET").arg(binding_key(account, key)).arg(text(binding));
    pipeline.arg("EX").arg(REMEMBERED.as_secs()).ignore();
}

fn binding_key(account: AccountId, key: &str) -> String {
    format!("idempotency:{account}:{key}")
}

fn text(binding: &Binding) -> String {
    serde_json::to_string(binding).expect("a binding is plain JSON")
}

fn read(text: &str) -> RedisResult<Binding> {
    let unreadable = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    serde_json::from_str(text).map_err(|error| RedisError::from(unreadable(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_key_is_not_there_proves_something_only_where_every_use_is_remembered() {
        let at = |minutes: i64| DateTime::from_timestamp(60 * minutes, 0).unwrap();
        let memory = KeyMemory { binding: None, since: at(1_000), older: None };
        let whole = |used_from, now| memory.is_whole_for(at(used_from), at(now));
        assert!(!whole(900, 1_001), "it may have been used before the loss");
        assert!(!whole(900, 1_000 + 24 * 60 - 1));
        assert!(whole(900, 1_000 + 24 * 60), "what was used before has been forgotten by now");
        assert!(whole(1_010, 1_011), "it cannot have been used before the loss");
        assert!(!whole(1_001, 1_011), "the clock may have jumped");
    }
}
