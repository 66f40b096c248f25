//! Reading requests: bodies, parameters, and who is calling. What passes here is well-formed.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use contract::{access::Token, api::problem::Code};
use serde::de::DeserializeOwned;

use super::{
    ApiError, ApiResult, Door, address,
    deadline::{self, BODY_BYTES_MAX},
};

/// Most bytes an admin's body may have, but for the layout of a screen.
pub const ADMIN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// A JSON body, exactly of the declared shape.
pub struct Body<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const BYTES_MAX: usize> FromRequest<S>
    for Body<T, BYTES_MAX>
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        is_json(request.headers())?;
        let bytes = deadline::read(request.into_body(), BYTES_MAX).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out: an empty body means `{}`.
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = deadline::read(body, BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.map(|kind| kind.to_ascii_lowercase().replace(' ', ""));
    if matches!(kind.as_deref(), Some("application/json" | "application/json;charset=utf-8")) {
        return Ok(());
    }
    let detail = "send the body with `Content-Type: application/json`";
    Err(ApiError::new(Code::UnsupportedMediaType, detail))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    is_object(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let inner = error.inner();
        if inner.is_data() {
            ApiError::invalid(pointer(error.path()), plain(inner))
        } else {
            malformed(inner)
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Arrays must be refused here: serde would read one as a struct, its elements as the fields in
/// order.
fn is_object(bytes: &[u8]) -> Result<(), ApiError> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(());
    }
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
    json.map_err(|error| malformed(&error))?;
    Err(ApiError::invalid("", "the body is not an object"))
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        Code::MalformedJson,
        format!("the body is not JSON: line {}, column {}", error.line(), error.column()),
    )
}

/// The message without the position, which means nothing to a program.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).chars().take(200).collect()
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// An id in the path.
pub struct PathId<T>(pub T);

impl<T, S> FromRequestParts<S> for PathId<T>
where
    T: FromStr<Err: Display> + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::invalid("id", "is not readable"))?;
        text.parse()
            .map(Self)
            .map_err(|_| ApiError::invalid("id", "is not an id: a UUID is needed"))
    }
}

/// Two ids in a path, which have these names in its description.
pub async fn path_ids<A: FromStr, B: FromStr, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    [first, second]: [&str; 2],
) -> ApiResult<(A, B)> {
    let Path((a, b)) = Path::<(String, String)>::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::invalid(first, "is not readable"))?;
    let no_id = |name: &str| ApiError::invalid(name, "is not an id: a UUID is needed");
    Ok((a.parse().map_err(|_| no_id(first))?, b.parse().map_err(|_| no_id(second))?))
}

/// Whether the caller asks for an answer of this kind by its name.
#[must_use]
pub fn asks_for(headers: &HeaderMap, kind: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(kind))
}

/// Query parameters of a declared shape.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid("query", error.body_text())),
        }
    }
}

/// The caller, who is signed in.
#[derive(Clone, Copy)]
pub struct SignedIn(pub Token);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let OptionalCaller(caller) = OptionalCaller::from_request_parts(parts, state).await?;
        caller.map(Self).ok_or_else(ApiError::unauthenticated)
    }
}

/// The caller, who is signed in, and whether the account is an admin: 503 if this node cannot be sure.
#[derive(Clone, Copy)]
pub struct KnownCaller {
    pub token: Token,
    pub is_admin: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for KnownCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let SignedIn(token) = SignedIn::from_request_parts(parts, state).await?;
        let is_admin = door(parts)?.access.is_admin(&token)?;
        Ok(Self { token, is_admin })
    }
}

/// The caller, if a token was sent. An invalid token is refused.
pub struct OptionalCaller(pub Option<Token>);

impl<S: Send + Sync> FromRequestParts<S> for OptionalCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        caller(parts).map(Self)
    }
}

/// What the first check of a request's token found.
#[derive(Clone)]
struct Verified(ApiResult<Option<Token>>);

/// The caller of a request. The token is verified once, however often this is called.
pub(super) fn caller(parts: &mut Parts) -> ApiResult<Option<Token>> {
    if let Some(Verified(known)) = parts.extensions.get() {
        return known.clone();
    }
    let caller = match bearer(&parts.headers) {
        Ok(Some(token)) => door(parts).and_then(|door| door.access.verify(token).map(Some)),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    parts.extensions.insert(Verified(caller.clone()));
    caller
}

/// Lets the handler know who is calling, where the service itself has found that out.
pub fn set_caller(parts: &mut Parts, caller: ApiResult<Token>) {
    parts.extensions.insert(Verified(caller.map(Some)));
}

/// The bearer token as it was sent.
pub fn bearer(headers: &HeaderMap) -> ApiResult<Option<&str>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(ApiError::unauthenticated()),
    }
}

/// The address of the client: of the socket, or what a trusted proxy says.
pub struct ClientAddr(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddr {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        client_address(parts).map(Self)
    }
}

pub(super) fn client_address(parts: &Parts) -> ApiResult<IpAddr> {
    let door = door(parts)?;
    let peer = parts.extensions.get::<SocketAddr>().map(SocketAddr::ip);
    let peer =
        peer.ok_or_else(|| ApiError::internal(anyhow::anyhow!("no peer address on the request")))?;
    Ok(address::client(peer, &parts.headers, &door.trusted_proxies))
}

pub(super) fn door(parts: &Parts) -> Result<&Door, ApiError> {
    let door = parts.extensions.get::<Door>();
    door.ok_or_else(|| ApiError::internal(anyhow::anyhow!("the router was built without a door")))
}
