//! Answers of the catalogue, kept for less than half a second and compressed once: a thousand
//! visitors who look at the same hall cost one read of the database. Every answer has an `ETag`; a
//! caller that has the answer already is told so without a body.

mod answer;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
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
use moka::{Expiry, future::Cache, policy::EvictionPolicy};
use platform::http::{ApiError, ApiResult};
use utoipa::openapi::{
    Header, ObjectBuilder, OpenApi, RefOr, Response as Described,
    path::{ParameterBuilder, ParameterIn, PathItem},
    schema::Type,
};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use answer::{Answer, Tag};

/// How long an answer is kept after its read began. The caller for whom it is compressed gets it
/// later by as much.
const KEPT_FOR: Duration = Duration::from_millis(400);
/// Most bytes of all kept answers together, without their compressed forms; those that were not
/// used for the longest time are dropped first. As many again are remembered to be compressed once.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most bytes of one answer; beyond, the call fails.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The answers that this node keeps.
pub(crate) struct KeptAnswers {
    /// By what was asked for, and by how many writes this node had seen.
    fresh: Cache<(u64, String), Fresh>,
    /// What was answered lately, fresh or not: what did not change is not compressed again.
    known: Cache<Tag, Arc<Answer>>,
    n_writes: AtomicU64,
}

/// An answer that may still be given.
#[derive(Clone)]
struct Fresh {
    answer: Arc<Answer>,
    read_at: Instant,
}

struct Expires;

impl Expiry<(u64, String), Fresh> for Expires {
    fn expire_after_create(
        &self,
        _: &(u64, String),
        fresh: &Fresh,
        _: Instant,
    ) -> Option<Duration> {
        Some(KEPT_FOR.saturating_sub(fresh.read_at.elapsed()))
    }
}

impl KeptAnswers {
    pub(crate) fn new() -> Self {
        let bytes = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let fresh = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(move |(_, asked): &(u64, String), fresh: &Fresh| {
                bytes(asked.len() + fresh.answer.len())
            })
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Expires);
        let known = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(move |_, answer: &Arc<Answer>| bytes(answer.len()))
            .eviction_policy(EvictionPolicy::lru());
        Self { fresh: fresh.build(), known: known.build(), n_writes: AtomicU64::new(0) }
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

/// Reads at the same moment share one answer, also a refusal.
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
    let key = (kept.n_writes.load(Relaxed), asked(path, &ids, query));
    let headers = request.headers().clone();
    let read = async {
        metrics::counter!("usher_catalogue_reads_total").increment(1);
        let read_at = Instant::now();
        let json = successful(next.run(request).await).await?;
        Ok(Fresh { answer: kept.answer(json).await, read_at })
    };
    metrics::counter!("usher_catalogue_calls_total").increment(1);
    let fresh = kept.fresh.try_get_with(key, read).await;
    let fresh = fresh.map_err(|error: Arc<ApiError>| ApiError::clone(&error))?;
    Ok(fresh.answer.to_caller(&headers).await)
}

/// One text for all ways to write the same request.
fn asked(path: &str, ids: &RawPathParams, query: &str) -> String {
    let mut asked = path.to_owned();
    for (_, id) in ids {
        let id = id.parse::<Uuid>().map_or_else(|_| id.to_owned(), |id| id.to_string());
        asked.extend([" ", &id]);
    }
    asked.extend(["?", query]);
    asked
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
        let unchanged = Described::new("unchanged since the answer with this `ETag`");
        responses.insert("304".into(), unchanged.into());
    }
}

fn reads_query(item: &PathItem) -> bool {
    let parameters = item.get.iter().flat_map(|operation| operation.parameters.iter().flatten());
    parameters.into_iter().any(|parameter| {
        matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query)
    })
}
