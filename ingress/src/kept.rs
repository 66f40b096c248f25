//! Answers of the catalogue, kept for less than half a second and compressed once: a thousand
//! visitors who look at the same hall cost one read of the database. Every answer has an `ETag`;
//! who has the answer already is told so without a body.

mod answer;

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::anyhow;
use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::Method,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use bytes::Bytes;
use moka::future::{Cache, CacheBuilder};
use platform::http::{ApiError, ApiResult};
use utoipa::openapi::{
    Header, ObjectBuilder, OpenApi, RefOr, Response as Described,
    path::{ParameterBuilder, ParameterIn},
    schema::Type,
};
use utoipa_axum::router::OpenApiRouter;

use answer::{Answer, Tag};

/// How long an answer is kept. It is at most 500 ms old while Postgres answers within 100 ms.
const KEPT_FOR: Duration = Duration::from_millis(400);
/// Most bytes of all kept answers together, each counted as long as it is without compression; the
/// least used are dropped first.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most bytes of one answer; a hall of 100,000 seats has a tenth of it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The answers that this node keeps.
pub(crate) struct KeptAnswers {
    /// By the address that was asked for, and by how many writes this node had seen.
    fresh: Cache<(u64, String), Arc<Answer>>,
    /// What was answered lately, fresh or not: what did not change is not compressed again.
    known: Cache<Tag, Arc<Answer>>,
    n_writes: AtomicU64,
}

impl KeptAnswers {
    pub(crate) fn new() -> Self {
        Self {
            fresh: cache_of_answers().time_to_live(KEPT_FOR).build(),
            known: cache_of_answers().build(),
            n_writes: AtomicU64::new(0),
        }
    }

    /// Keeps a new answer, or finds that it is one already known.
    async fn answer(&self, json: Bytes) -> Arc<Answer> {
        let tag = Tag::of(&json);
        self.known.get_with(tag, async { Arc::new(Answer::new(tag, json)) }).await
    }
}

fn cache_of_answers<K: Hash + Eq + Send + Sync + 'static>()
-> CacheBuilder<K, Arc<Answer>, Cache<K, Arc<Answer>>> {
    Cache::builder()
        .max_capacity(BYTES_MAX)
        .weigher(|_, answer: &Arc<Answer>| answer.len().try_into().unwrap_or(u32::MAX))
}

/// Keeps the answers of all reads of this router, which must be the same for every caller.
pub(crate) fn with_kept_answers<S: Clone + Send + Sync + 'static>(
    router: OpenApiRouter<S>,
    kept: &Arc<KeptAnswers>,
) -> OpenApiRouter<S> {
    let mut router = router.layer(from_fn_with_state(Arc::clone(kept), read));
    describe(router.get_openapi_mut());
    router
}

/// Who has written with a call of this router reads what was written. Other nodes show it when what
/// they keep is over.
pub(crate) fn forgetting_answers<S: Clone + Send + Sync + 'static>(
    router: OpenApiRouter<S>,
    kept: &Arc<KeptAnswers>,
) -> OpenApiRouter<S> {
    router.layer(from_fn_with_state(Arc::clone(kept), forget_after))
}

/// Reads at the same moment share one answer, also a refusal.
async fn read(
    State(kept): State<Arc<KeptAnswers>>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str()).to_owned();
    let key = (kept.n_writes.load(Relaxed), asked);
    let headers = request.headers().clone();
    let read = async {
        metrics::counter!("usher_catalogue_reads_total").increment(1);
        let json = successful(next.run(request).await).await?;
        Ok(kept.answer(json).await)
    };
    metrics::counter!("usher_catalogue_calls_total").increment(1);
    let answer = kept.fresh.try_get_with(key, read).await;
    let answer = answer.map_err(|error: Arc<ApiError>| ApiError::clone(&error))?;
    Ok(answer.to_caller(&headers).await)
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
    kept.n_writes.fetch_add(1, Relaxed);
    response
}

/// Adds to each read that it has an `ETag`, and the answer to who has it already.
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
