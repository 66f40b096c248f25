//! Answers of the catalogue, kept for less than a second and compressed once: a thousand visitors
//! who look at the same hall cost one read of the database. An answer in demand is read again while
//! callers still get the old one. Every answer has an `ETag`; a caller that has the answer already
//! is told so without a body.

mod answer;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::anyhow;
use axum::{
    body::to_bytes,
    extract::{MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::Method,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use bytes::Bytes;
use contract::api::BASE;
use moka::{future::Cache, policy::EvictionPolicy};
use platform::http::{ApiError, ApiResult};
use utoipa::openapi::{
    self, Header, ObjectBuilder, OpenApi, RefOr,
    path::{ParameterBuilder, ParameterIn, PathItem},
    schema::Type,
};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use answer::{Answer, Tag};

/// How long an answer is fresh after it was read, and compressed if it takes the place of another.
const FRESH_FOR: Duration = Duration::from_millis(400);
/// How long it is given: from the first call after [`FRESH_FOR`] on it is read again meanwhile.
const GIVEN_FOR: Duration = Duration::from_millis(800);
/// Most bytes of all kept answers together, without their compressed forms; those that were not
/// used for the longest time are dropped first. As many again are remembered to be compressed once.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most bytes of one answer; beyond, the call fails.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The answers that this node keeps.
pub(crate) struct KeptAnswers {
    given: Cache<Asked, Kept>,
    /// The reads that are on their way; what they found is kept above.
    reads: Cache<Asked, Kept>,
    /// What was answered lately, fresh or not: what did not change is not compressed again.
    known: Cache<Tag, Arc<Answer>>,
    n_writes: AtomicU64,
    fresh_for: Duration,
}

/// What was asked for, and how many writes this node had seen.
type Asked = (u64, String);

#[derive(Clone)]
struct Kept {
    answer: Arc<Answer>,
    since: Instant,
    is_read_again: Arc<AtomicBool>,
}

fn weigh((_, asked): &Asked, kept: &Kept) -> u32 {
    u32::try_from(asked.len() + kept.answer.len()).unwrap_or(u32::MAX)
}

impl KeptAnswers {
    pub(crate) fn new() -> Self {
        Self::keeping(FRESH_FOR, GIVEN_FOR)
    }

    fn keeping(fresh_for: Duration, given_for: Duration) -> Self {
        let caches = |lives: Duration| {
            Cache::builder()
                .max_capacity(BYTES_MAX)
                .weigher(weigh)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(lives)
                .build()
        };
        let known = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(|_, answer: &Arc<Answer>| u32::try_from(answer.len()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru());
        Self {
            given: caches(given_for),
            reads: caches(Duration::ZERO),
            known: known.build(),
            n_writes: AtomicU64::new(0),
            fresh_for,
        }
    }

    fn is_fresh(&self, kept: &Kept) -> bool {
        kept.since.elapsed() < self.fresh_for
    }

    /// Reads an answer, or waits for the read that is on its way: also for a refusal. What has the
    /// place of an old answer is compressed as that was.
    async fn read(
        &self,
        asked: Asked,
        old: Option<&Answer>,
        request: Request,
        next: Next,
    ) -> ApiResult<Kept> {
        let read = async {
            // It may have been read a moment ago.
            if let Some(kept) = self.given.get(&asked).await.filter(|kept| self.is_fresh(kept)) {
                return Ok(kept);
            }
            metrics::counter!("usher_catalogue_reads_total").increment(1);
            let json = successful(next.run(request).await).await?;
            let answer = self.answer(json).await;
            if let Some(old) = old {
                answer.compress_as(old).await;
            }
            let since = Instant::now();
            let kept = Kept { answer, since, is_read_again: Arc::default() };
            self.given.insert(asked.clone(), kept.clone()).await;
            Ok(kept)
        };
        let kept = self.reads.try_get_with_by_ref(&asked, read).await;
        kept.map_err(|error: Arc<ApiError>| ApiError::clone(&error))
    }

    /// Keeps a new answer, or finds that it is one already known.
    async fn answer(&self, json: Bytes) -> Arc<Answer> {
        let tag = Tag::of(&json);
        self.known.get_with(tag, async { Arc::new(Answer::new(tag, json)) }).await
    }
}

/// Keeps the answers of all reads of this router. They must be the same for every caller, and the
/// ids in their paths UUIDs.
pub(crate) fn with_kept_answers<S: Clone + Send + Sync + 'static>(
    mut router: OpenApiRouter<S>,
    kept: &Arc<KeptAnswers>,
) -> OpenApiRouter<S> {
    let document = router.get_openapi_mut();
    describe(document);
    let with_query = document.paths.paths.iter().filter(|(_, item)| reads_query(item));
    let layer = ReadLayer {
        kept: Arc::clone(kept),
        with_query: with_query.map(|(path, _)| path.clone()).collect(),
    };
    router.layer(from_fn_with_state(Arc::new(layer), read))
}

/// What the layer of the reads works with.
struct ReadLayer {
    kept: Arc<KeptAnswers>,
    /// The paths whose query is part of what is asked for. Elsewhere it is ignored, so that nobody
    /// gets reads of their own by adding one.
    with_query: HashSet<String>,
}

/// A caller that has written with a call of this router reads what was written, unless a replica
/// lags behind. Other nodes show it when what they keep is over.
pub(crate) fn forgetting_answers<S: Clone + Send + Sync + 'static>(
    router: OpenApiRouter<S>,
    kept: &Arc<KeptAnswers>,
) -> OpenApiRouter<S> {
    router.layer(from_fn_with_state(Arc::clone(kept), forget_after))
}

async fn read(
    State(layer): State<Arc<ReadLayer>>,
    path: MatchedPath,
    ids: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    // The handler says what is wrong with an id that cannot be read.
    let Ok(ids) = ids else { return Ok(next.run(request).await) };
    let kept = &layer.kept;
    let path = path.as_str();
    let is_asked = layer.with_query.contains(path.strip_prefix(BASE).unwrap_or(path));
    let query = request.uri().query().filter(|_| is_asked).unwrap_or_default();
    let asked = (kept.n_writes.load(Relaxed), one_text(path, &ids, query));
    let headers = request.headers().clone();
    metrics::counter!("usher_catalogue_calls_total").increment(1);
    let given = match kept.given.get(&asked).await {
        None => kept.read(asked, None, request, next).await?,
        Some(given) => {
            if !kept.is_fresh(&given) && !given.is_read_again.swap(true, Relaxed) {
                let (kept, old) = (Arc::clone(kept), Arc::clone(&given.answer));
                let read = async move {
                    // Where it fails, the old answer is given until its time is over.
                    if kept.read(asked, Some(&old), request, next).await.is_err() {
                        metrics::counter!("usher_catalogue_reads_failed_total").increment(1);
                    }
                };
                #[expect(
                    clippy::disallowed_methods,
                    reason = "bounded by what its statements may take"
                )]
                tokio::spawn(read);
            }
            given
        }
    };
    Ok(given.answer.to_caller(&headers).await)
}

/// One text for all ways to write the same request.
fn one_text(path: &str, ids: &RawPathParams, query: &str) -> String {
    let mut text = path.to_owned();
    for (_, id) in ids {
        let id = id.parse::<Uuid>().map_or_else(|_| id.to_owned(), |id| id.to_string());
        text.extend([" ", &id]);
    }
    text.extend(["?", query]);
    text
}

/// The body of a handler's answer, or its refusal.
async fn successful(mut response: Response) -> ApiResult<Bytes> {
    let status = response.status();
    if status.is_success() {
        return to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.map_err(ApiError::internal);
    }
    let refusal = response.extensions_mut().remove::<ApiError>();
    Err(refusal
        .unwrap_or_else(|| ApiError::internal(anyhow!("answered {status} without a reason"))))
}

async fn forget_after(
    State(kept): State<Arc<KeptAnswers>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    // A call that was refused has written nothing; one that failed may have.
    if !response.status().is_client_error() {
        kept.n_writes.fetch_add(1, Relaxed);
    }
    response
}

/// Adds to each read that it has an `ETag`, and the answer to a caller that has it already.
fn describe(document: &mut OpenApi) {
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    for operation in document.paths.paths.values_mut().filter_map(|item| item.get.as_mut()) {
        let known = ParameterBuilder::new()
            .name("If-None-Match")
            .parameter_in(ParameterIn::Header)
            .description(Some("the `ETag` of an answer that the caller has"))
            .schema(Some(text()));
        operation.parameters.get_or_insert_default().push(known.build().into());
        let responses = &mut operation.responses.responses;
        if let Some(RefOr::T(answer)) = responses.get_mut("200") {
            answer.headers.insert("ETag".into(), Header::new(text()).into());
        }
        let unchanged = openapi::Response::new("unchanged since the answer with this `ETag`");
        responses.insert("304".into(), unchanged.into());
    }
}

fn reads_query(item: &PathItem) -> bool {
    let parameters = item.get.iter().flat_map(|operation| operation.parameters.iter().flatten());
    parameters.into_iter().any(|parameter| {
        matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query)
    })
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use testing::eventually;
    use tokio::{sync::Notify, time::timeout};
    use tower::ServiceExt as _;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn asked_for(router: &Router) -> Bytes {
        let request = Request::get("/count").body(Body::empty()).unwrap();
        let answered = timeout(SOON, router.clone().oneshot(request)).await.expect("it is kept");
        to_bytes(answered.unwrap().into_body(), 100).await.unwrap()
    }

    #[tokio::test]
    async fn an_old_answer_is_given_while_it_is_read_again_and_then_its_callers_wait_for_that_read()
    {
        let (reads, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let (count, closed) = (Arc::clone(&reads), Arc::clone(&gate));
        let handler = async move || {
            let n = count.fetch_add(1, Relaxed);
            if n == 1 {
                closed.notified().await;
            }
            n.to_string()
        };
        let router = OpenApiRouter::new().route("/count", get(handler));
        let (fresh_for, given_for) = (Duration::from_secs(1), Duration::from_secs(4));
        let kept = Arc::new(KeptAnswers::keeping(fresh_for, given_for));
        let router: Router = with_kept_answers(router, &kept).split_for_parts().0;
        let began = Instant::now();
        while reads.load(Relaxed) < 2 {
            assert_eq!(asked_for(&router).await, "0", "nobody waits for the second read");
            assert!(began.elapsed() < SOON, "an old answer is read again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(given_for).await;
        let opening = async {
            tokio::time::sleep(fresh_for).await;
            assert_eq!(reads.load(Relaxed), 2, "who waits joins the read that is on its way");
            gate.notify_one();
        };
        let (answer, ()) = tokio::join!(asked_for(&router), opening);
        assert_eq!(answer, "1");
        eventually("it is read a third time", SOON, async || {
            (asked_for(&router).await == "2").then_some(())
        })
        .await;
    }
}
