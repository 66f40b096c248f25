//! Errors on their way to a client: a handler returns an [`ApiError`], and the listener turns it,
//! and every error of the framework, into a problem with the request's id.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use contract::api::problem::{Code, FieldError, Problem};
use serde_json::{Map, Value};
use tracing::{error, warn};
use uuid::Uuid;

use super::{hint, refusals};

pub type ApiResult<T> = Result<T, ApiError>;

/// What a client is told when a call fails.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: Code,
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    more: Map<String, Value>,
    // Boxed, to keep results small.
    headers: Box<HeaderMap>,
    source: Option<Arc<anyhow::Error>>,
}

impl ApiError {
    /// An error with a stable code and a sentence that says what to do next.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            errors: Vec::new(),
            more: Map::new(),
            headers: Box::default(),
            source: None,
        }
    }

    /// 400 `VALIDATION_FAILED` for one field.
    #[must_use]
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { pointer: pointer.into(), detail: detail.into() };
        let detail = format!("{} {}", error.pointer, error.detail);
        let mut invalid = Self::new(Code::ValidationFailed, detail);
        invalid.errors.push(error);
        invalid
    }

    /// 401 UNAUTHENTICATED.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            Code::Unauthenticated,
            "a valid access token is needed: sign in and send `Authorization: Bearer …`",
        )
        .header(header::WWW_AUTHENTICATE, "Bearer")
    }

    /// 403 FORBIDDEN for calls that need the role `admin`.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(Code::Forbidden, "this call needs the role admin")
    }

    /// 404 with the code of the thing.
    #[must_use]
    pub fn not_found(code: Code) -> Self {
        Self::new(code, "there is nothing with this id, or it is not yours")
    }

    /// 503 for a dependency that is away, with a Retry-After.
    #[must_use]
    pub fn unavailable(code: Code, detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(code, detail).retry_after(Duration::from_secs(retry_after_s))
    }

    /// 500 for what must not happen; logged with its whole chain.
    #[must_use]
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::new(
            Code::Internal,
            "something failed on our side; quote the requestId when you report it",
        )
        .caused_by(source)
    }

    /// Answers with another status than the code's own.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Says that the fields that were refused are parts of this one.
    #[must_use]
    pub fn within(mut self, pointer: &str) -> Self {
        for error in &mut self.errors {
            error.pointer.insert_str(0, pointer);
        }
        self
    }

    /// Keeps the cause for the log; the client never sees it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(Arc::new(source.into()));
        self
    }

    /// Adds a member to the problem.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Says when to come back: not before the wait is over, and each client at another time.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.header(header::RETRY_AFTER, &hint::retry_after(wait).to_string())
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    fn into_problem(self, request_id: &str) -> Response {
        let problem = Problem {
            kind: format!(
                "urn:usher:problem:{}",
                self.code.as_str().to_lowercase().replace('_', "-")
            ),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
            request_id: request_id.to_owned(),
            errors: self.errors,
            more: self.more,
        };
        let mut response = (self.status, Json(problem)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(*self.headers);
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What a caller may do at all, and what is left of it: draft-ietf-httpapi-ratelimit-headers-10.
pub(super) const LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const LIMIT_LEFT: HeaderName = HeaderName::from_static("ratelimit");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, which its answer and the log have as well.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let known = parts.extensions.get().copied();
        known.ok_or_else(|| ApiError::internal(anyhow::anyhow!("a request without an id")))
    }
}

/// A call, to be told of in its answer and in the log.
pub(super) struct Call {
    request_id: Uuid,
    method: Method,
    uri: Uri,
}

impl Call {
    /// Gives the request its id.
    pub(super) fn of<B>(request: &mut Request<B>) -> Self {
        let request_id = Uuid::now_v7();
        request.extensions_mut().insert(RequestId(request_id));
        Self { request_id, method: request.method().clone(), uri: request.uri().clone() }
    }

    /// Gives the answer the request's id, and an error its shape.
    pub(super) fn answer(self, mut response: Response) -> Response {
        let request_id = self.request_id.to_string();
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let error = response.extensions_mut().remove::<ApiError>();
            let headers = std::mem::take(response.headers_mut());
            let error = error.unwrap_or_else(|| of_framework(status, &headers));
            if let Some(calls) = refusals::count(status, error.code) {
                log(&error, &request_id, &self.method, self.uri.path(), calls);
            }
            response = error.into_problem(&request_id);
            for name in [LIMIT_POLICY, LIMIT_LEFT] {
                if let (None, Some(told)) = (response.headers().get(&name), headers.get(&name)) {
                    response.headers_mut().insert(name, told.clone());
                }
            }
        }
        if let Ok(id) = HeaderValue::try_from(request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
}

/// Logs one line about `calls` calls with one code, of which this was the last. A 503 is only a
/// warning, because overload or a missing dependency is not a fault of this process.
fn log(error: &ApiError, request_id: &str, method: &Method, path: &str, calls: u64) {
    let cause = error.source.as_ref().map(|source| format!("{source:#}"));
    let cause = cause.as_deref().unwrap_or("no cause given");
    let (status, code) = (error.status.as_u16(), error.code.as_str());
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        warn!(request_id, %method, path, status, code, calls, "calls are refused: {cause}");
    } else {
        error!(request_id, %method, path, status, code, calls, "calls failed: {cause}");
    }
}

/// The error for an answer that axum, hyper or tower made themselves.
fn of_framework(status: StatusCode, headers: &HeaderMap) -> ApiError {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => (Code::MethodNotAllowed, "see Allow for its methods"),
        StatusCode::PAYLOAD_TOO_LARGE => (Code::BodyTooLarge, "a body has at most 16 KiB"),
        StatusCode::REQUEST_TIMEOUT => {
            (Code::Timeout, "the request arrived too slowly; send it again")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (Code::UnsupportedMediaType, "send JSON"),
        StatusCode::UPGRADE_REQUIRED => (Code::UpgradeRequired, "this is a WebSocket"),
        status if status.is_server_error() => (Code::Internal, "something failed on our side"),
        _ => (Code::BadRequest, "the request cannot be understood"),
    };
    let mut error = ApiError::new(code, detail).with_status(status);
    if let Some(allow) = headers.get(header::ALLOW) {
        error.headers.insert(header::ALLOW, allow.clone());
    }
    error
}

/// The answer to a handler that panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ApiError::internal(anyhow::anyhow!("a handler panicked: {text}")).into_response()
}
