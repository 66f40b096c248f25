//! Calls with an API key. A key that is forged is known by its form alone. Whether a key is still
//! good is read from the database, and kept for a second: a deleted key ends within two seconds on
//! every node, and a busy one costs one query a second.

use std::{
    convert::Infallible,
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, request::Parts},
    response::Response,
};
use contract::{
    AccountId, ApiKeyId,
    access::Token,
    api::problem::Code,
    api_key::{ApiKey, ApiKeys, PREFIX},
    keys::MasterKey,
};
use futures_util::future::{BoxFuture, Either, FutureExt as _};
use moka::future::Cache;
use platform::{
    clock,
    http::{ApiError, ApiResult, bearer, set_caller},
};
use store::{
    Pool,
    api_keys::{KeyInForce, in_force},
};
use tokio::time::timeout;
use tower::Service;

use crate::{errors::database, scopes};

/// How long a node goes by what it has read of a key.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Longest time to read a key. With [`KNOWN_FOR`] this makes the two seconds.
const READ_WAIT: Duration = Duration::from_secs(1);
/// Most keys that a node remembers. Beyond it, those that are not in use are read again.
const KNOWN_MAX: u64 = 10_000;
/// How long a handler may take a caller for signed in; it is asked for anew with each call.
const CALL_MAX: Duration = Duration::from_mins(1);

/// Says whose an API key is, and whether it may make a call. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KeyCallers {
    keys: ApiKeys,
    pool: Pool,
    known: Cache<ApiKeyId, Option<Arc<KeyInForce>>>,
}

impl KeyCallers {
    pub(crate) fn new(master: &MasterKey, pool: Pool) -> Self {
        let known = Cache::builder().max_capacity(KNOWN_MAX).time_to_live(KNOWN_FOR).build();
        Self { keys: ApiKeys::new(master), pool, known }
    }

    /// The text of a key.
    pub(crate) fn sign(&self, key: ApiKey) -> String {
        self.keys.sign(key)
    }

    /// Whose limits a call with a key uses up: each key has those of an account of its own, so that
    /// a partner's program, or a key that has ended, takes nothing from the account's owner.
    pub(crate) fn limited(&self, headers: &HeaderMap) -> Option<AccountId> {
        let key = self.keys.read(shown(headers)?)?;
        Some(AccountId(key.id.0))
    }

    /// Who calls with this key: its account, if the key is good and has the scope of the call.
    async fn caller(&self, parts: &Parts) -> ApiResult<Token> {
        let key = shown(&parts.headers).and_then(|text| self.keys.read(text));
        let key = key.ok_or_else(|| refused("forged"))?;
        let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let scope = path.and_then(|path| scopes::of(&parts.method, path));
        let Some(scope) = scope else {
            return Err(scope_missing("no API key may make this call; sign in"));
        };
        let known = self.in_force(key.id).await?.filter(|known| is_of(key, known));
        let known = known.ok_or_else(|| refused("ended"))?;
        if !known.scopes.contains(&scope) {
            let detail = format!("this API key does not have the scope {}", scope.as_str());
            return Err(scope_missing(detail).with("scope", scope.as_str()));
        }
        let now = clock::now();
        Ok(Token {
            account: known.account,
            role: known.role,
            generation: known.generation,
            session: None,
            issued_at: Some(now),
            expires_at: now + CALL_MAX,
        })
    }

    /// The key as it was at most two seconds ago; `None` if it has ended.
    async fn in_force(&self, key: ApiKeyId) -> ApiResult<Option<Arc<KeyInForce>>> {
        let read = async {
            metrics::counter!("usher_api_key_reads_total").increment(1);
            let found = timeout(READ_WAIT, in_force(&self.pool, key)).await.map_err(|_| {
                let detail = "whether this API key is good is not known now; try again";
                ApiError::unavailable(Code::DatabaseUnavailable, detail, 1)
            })?;
            Ok(found.map_err(database)?.map(Arc::new))
        };
        let known = self.known.try_get_with(key, read).await;
        known.map_err(|error: Arc<ApiError>| ApiError::clone(&error))
    }
}

/// Whether this secret of the key is good: the present one, or for a while the one before it.
fn is_of(key: ApiKey, known: &KeyInForce) -> bool {
    let is_previous = key.turn.checked_add(1) == Some(known.turn);
    key.account == known.account
        && (key.turn == known.turn || (is_previous && known.is_previous_good))
}

/// The bearer token, if it looks like a key.
fn shown(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).ok().flatten().filter(|text| text.starts_with(PREFIX))
}

fn refused(why: &'static str) -> ApiError {
    metrics::counter!("usher_api_keys_refused_total", "why" => why).increment(1);
    ApiError::unauthenticated()
}

fn scope_missing(detail: impl Into<String>) -> ApiError {
    metrics::counter!("usher_api_keys_refused_total", "why" => "scope").increment(1);
    ApiError::new(Code::ScopeMissing, detail)
}

/// Routes that take API keys: each handler hears who is calling as with an access token. A call
/// without a key costs a look at its header.
#[derive(Clone)]
pub(crate) struct Keyed<S> {
    pub(crate) callers: KeyCallers,
    pub(crate) routes: S,
}

impl<S> Service<Request> for Keyed<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if shown(request.headers()).is_none() {
            return Either::Left(self.routes.call(request));
        }
        // The one that is ready is taken, and leaves its copy.
        let copy = self.routes.clone();
        let (callers, mut routes) = (self.callers.clone(), mem::replace(&mut self.routes, copy));
        let answered = async move {
            let (mut parts, body) = request.into_parts();
            let caller = callers.caller(&parts).await;
            set_caller(&mut parts, caller);
            routes.call(Request::from_parts(parts, body)).await
        };
        Either::Right(answered.boxed())
    }
}
