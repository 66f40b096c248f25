//! Watching what Redis does when its memory is full. With an eviction policy it forgets lines;
//! with `noeviction` it refuses writes, which `/readyz` then reports.

use std::{sync::Arc, time::Duration};

use platform::cache::Cache;
use tracing::{debug, warn};

use crate::room::WaitingRoom;

/// How often Redis is asked for its policy.
const EVERY: Duration = Duration::from_secs(10);

/// Reports a policy that evicts, in a metric and once in the log, until the shutdown begins.
pub(crate) async fn watch(room: Arc<WaitingRoom>) {
    let mut was = None;
    loop {
        match evicting(&room.store.cache).await {
            Ok(now) => {
                if now != was {
                    tell(was.as_deref(), now.as_deref());
                }
                was = now;
            }
            Err(error) => debug!("reading the maxmemory-policy of redis failed: {error}"),
        }
        if !room.shutdown.sleep(EVERY).await {
            return;
        }
    }
}

fn tell(was: Option<&str>, now: Option<&str>) {
    let gauge =
        |policy: &str| metrics::gauge!("usher_redis_may_evict", "policy" => policy.to_owned());
    if let Some(was) = was {
        gauge(was).set(0.0);
    }
    if let Some(now) = now {
        gauge(now).set(1.0);
        warn!(
            policy = now,
            "redis forgets lines when its memory is full: set maxmemory-policy to noeviction"
        );
    }
}

/// The policy, if it evicts keys and there is a memory limit.
async fn evicting(cache: &Cache) -> redis::RedisResult<Option<String>> {
    let mut connection = cache.connection()?;
    let asked = redis::cmd("INFO").arg("memory").query_async(&mut connection).await;
    Ok(policy(&cache.observe::<String>(asked)?))
}

fn policy(info: &str) -> Option<String> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
    };
    let policy = field("maxmemory_policy")?;
    let is_limited = field("maxmemory").is_some_and(|bytes| bytes != "0");
    (is_limited && policy != "noeviction").then(|| policy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_with_a_policy_that_evicts_is_named() {
        let info = |limit: &str, policy: &str| {
            format!(
                "# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\n"
            )
        };
        assert_eq!(policy(&info("1000", "allkeys-lru")).as_deref(), Some("allkeys-lru"));
        assert_eq!(policy(&info("1000", "volatile-ttl")).as_deref(), Some("volatile-ttl"));
        assert_eq!(policy(&info("1000", "noeviction")), None);
        assert_eq!(policy(&info("0", "allkeys-lru")), None);
        assert_eq!(policy(""), None);
    }
}
