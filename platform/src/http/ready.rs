//! `/readyz`: whether the process can do its work and is not stopping, and what is missing.
//!
//! Anybody may ask, without a limit, and a check costs each dependency a call. So one check is the
//! answer to all for [`GOOD_FOR`], and it goes on even if the client that caused it goes away.

use std::{sync::Arc, time::Duration};

use axum::{Json, http::header};
use contract::api::problem::Code;
use futures_util::future::join_all;
use moka::future::Cache;
use serde_json::{Value, json};

use super::{ApiError, ApiResult};
use crate::{Shutdown, service::Dependency};

/// How long one check is the answer.
const GOOD_FOR: Duration = Duration::from_millis(500);
/// Longest wait for a dependency's answer.
const CHECK_WAIT: Duration = Duration::from_secs(2);

/// What the process needs and uses, and the last check of it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Readiness {
    dependencies: Arc<[Dependency]>,
    last: Cache<(), ApiResult<Value>>,
    shutdown: Shutdown,
}

impl Readiness {
    pub(super) fn of(dependencies: Vec<Dependency>, shutdown: Shutdown) -> Self {
        let last = Cache::builder().max_capacity(1).time_to_live(GOOD_FOR).build();
        Self { dependencies: dependencies.into(), last, shutdown }
    }

    /// The answer to a client.
    pub(super) async fn answer(self) -> ApiResult<Json<Value>> {
        if self.shutdown.is_draining() {
            return Err(not_ready(vec!["this process is stopping".into()]));
        }
        if let Some(answer) = self.last.get(&()).await {
            return answer.map(Json);
        }
        let (last, dependencies) = (self.last, self.dependencies);
        let look = async move { last.get_with((), look(&dependencies)).await };
        self.shutdown.spawn(look).await.map_err(ApiError::internal)?.map(Json)
    }
}

async fn look(dependencies: &[Dependency]) -> ApiResult<Value> {
    let asked = dependencies.iter().map(|Dependency { name, is_needed, check }| async move {
        let answer = tokio::time::timeout(CHECK_WAIT, check()).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in 2 s".into()));
        answer.err().map(|why| (*is_needed, format!("{name}: {why}")))
    });
    let missing = join_all(asked).await.into_iter().flatten();
    let (needed, used): (Vec<_>, Vec<_>) = missing.partition(|(is_needed, _)| *is_needed);
    let is_ready = needed.is_empty();
    let missing: Vec<String> = needed.into_iter().chain(used).map(|(_, why)| why).collect();
    if is_ready {
        return Ok(json!({"status": "ready", "missing": missing}));
    }
    Err(not_ready(missing))
}

fn not_ready(missing: Vec<String>) -> ApiError {
    let error = ApiError::new(Code::NotReady, missing.join("; "));
    // The client is a load balancer, which asks at its own rhythm.
    error.header(header::RETRY_AFTER, "1").with("missing", missing)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::Service;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test(flavor = "multi_thread")]
    async fn however_many_ask_or_go_away_a_dependency_is_looked_at_twice_a_second() {
        let looks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&looks);
        let service = Service::default().needs("clock", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(())
            }
        });
        let ready = Readiness::of(service.dependencies, Shutdown::default());
        let began = Instant::now();
        while looks.load(Ordering::Relaxed) < 3 {
            let hasty = (0..20).map(|_| timeout(Duration::from_millis(1), ready.clone().answer()));
            join_all(hasty).await;
            for answer in join_all((0..20).map(|_| ready.clone().answer())).await {
                assert_eq!(answer.unwrap().0["status"], "ready");
            }
            assert!(began.elapsed() < SOON, "it is looked at again");
        }
        assert!(began.elapsed() >= 2 * GOOD_FOR, "three looks in {:?}", began.elapsed());
    }
}
