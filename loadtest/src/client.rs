//! A client of the API: typed calls, retried where that is safe, with an address of its own.
//!
//! Every POST carries an Idempotency-Key, so it may be repeated even after `OUTCOME_UNKNOWN` or
//! without an answer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contract::api::{
    BASE,
    problem::{Code, Problem},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use uuid::Uuid;

/// Tries of one call before its last error is returned.
const TRIES_MAX: u32 = 10;
/// Longest pause between two tries, whatever Retry-After says.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long an idle connection is kept; less than the 5 s of the server.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// Longest wait for an answer; more than the longest `Prefer: wait`.
const ANSWER_WAIT: Duration = Duration::from_secs(45);

/// Why a call failed.
#[derive(Debug, Error)]
pub enum CallError {
    #[error("{} {}: {}", .0.status, .0.code.as_str(), .0.detail)]
    Refused(Box<Problem>),
    #[error("no answer")]
    Unreachable(#[from] reqwest::Error),
    #[error("no socket: {0}")]
    Socket(String),
    #[error("not as documented: {0}")]
    Unexpected(String),
}

impl CallError {
    /// The problem's code, if the server refused the call.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            _ => None,
        }
    }
}

/// A visitor's client. Cheap to clone; clones share connections and the count of repeats.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    origin: Arc<str>,
    /// The address of this machine that connections are made from; `None` for any.
    local: Option<IpAddr>,
    address: Ipv4Addr,
    token: Option<Arc<str>>,
    repeats: Arc<AtomicU64>,
}

impl Client {
    /// A client of the system at `origin`, such as `http://127.0.0.1:8080`.
    pub fn new(origin: &str) -> Result<Self, CallError> {
        Self::connecting_from(origin, None)
    }

    /// The same, with connections made from this address of the machine: a system can make some
    /// 28,000 connections from one address to one port.
    pub fn connecting_from(origin: &str, local: Option<IpAddr>) -> Result<Self, CallError> {
        let http = reqwest::Client::builder()
            .local_address(local)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(256)
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .timeout(ANSWER_WAIT)
            .build()?;
        Ok(Self {
            http,
            origin: origin.trim_end_matches('/').into(),
            local,
            address: Ipv4Addr::LOCALHOST,
            token: None,
            repeats: Arc::default(),
        })
    }

    /// The same client with another claimed address, which counts if the server trusts us as a
    /// proxy.
    #[must_use]
    pub fn from_address(&self, address: Ipv4Addr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same client, signed in.
    #[must_use]
    pub fn signed_in(&self, token: &str) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// Calls that were sent again, by this client and its clones.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// The URL of the system.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The address that the client claims.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The address of this machine that connections are made from; `None` for any.
    #[must_use]
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// The access token, if the client is signed in.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The URL of a socket, from a path or URL that the server gave.
    #[must_use]
    pub fn socket_url(&self, at: &str) -> String {
        let url = if at.starts_with('/') { format!("{}{at}", self.origin) } else { at.to_owned() };
        match url.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => url,
        }
    }

    /// `GET` of a path under the API's base.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        json(self.send(self.request(Method::GET, path)).await?).await
    }

    /// `POST` with a fresh Idempotency-Key.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        json(self.post_keyed(path, body, &fresh_key(), &[]).await?).await
    }

    /// `POST` without a body.
    pub async fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let request = self.request(Method::POST, path).header("idempotency-key", fresh_key());
        json(self.send(request).await?).await
    }

    /// A request of any method with a body.
    pub async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        json(self.send(self.request(method, path).json(body)).await?).await
    }

    pub(crate) async fn post_keyed(
        &self,
        path: &str,
        body: &impl Serialize,
        key: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, CallError> {
        let mut request = self.request(Method::POST, path).header("idempotency-key", key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.json(body)).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{BASE}{path}", self.origin);
        let request =
            self.http.request(method, url).header("x-forwarded-for", self.address.to_string());
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request until it has an answer that a repetition would not change.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let copy = request.try_clone().expect("every body here is a buffer");
            let (error, asked_to_wait) = match copy.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let wait = retry_after(&answer);
                    let status = answer.status();
                    let error = refusal(answer).await;
                    if !is_passing(status) {
                        return Err(error);
                    }
                    (error, wait)
                }
                Err(error) => (error.into(), None),
            };
            if tries == TRIES_MAX {
                return Err(error);
            }
            self.repeats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause(tries, asked_to_wait)).await;
        }
    }
}

/// Asks a service whether it can serve; the error says what it misses.
pub async fn ready(origin: &str) -> Result<(), String> {
    match reqwest::get(format!("{origin}/readyz")).await {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
        Ok(answer) => Err(answer.text().await.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

/// An Idempotency-Key that no other request has.
#[must_use]
pub fn fresh_key() -> String {
    Uuid::new_v4().simple().to_string()
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}

/// How long to wait after try number `tries`: as long as the server asked for, else longer each
/// time. A random part keeps a crowd from coming back at the same moment.
fn pause(tries: u32, asked: Option<Duration>) -> Duration {
    let grown = Duration::from_millis(100) * 2u32.saturating_pow(tries.min(8));
    asked.unwrap_or(grown).min(PAUSE_MAX) + Duration::from_millis(fastrand::u64(0..250))
}

async fn refusal(answer: Response) -> CallError {
    let status = answer.status();
    match answer.bytes().await {
        Err(error) => error.into(),
        Ok(body) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CallError::Refused(Box::new(problem)),
            Err(_) => CallError::Unexpected(format!("{status} without a problem")),
        },
    }
}

pub(crate) async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, CallError> {
    let path = answer.url().path().to_owned();
    let body = answer.bytes().await?;
    serde_json::from_slice(&body)
        .map_err(|error| CallError::Unexpected(format!("the answer of {path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_what_the_server_asked_for_within_bounds() {
        let asked = pause(1, Some(Duration::from_secs(2)));
        assert!((2.0..2.3).contains(&asked.as_secs_f64()), "{asked:?}");
        assert!(pause(1, Some(Duration::from_hours(1))) < PAUSE_MAX + Duration::from_secs(1));
        assert!(pause(TRIES_MAX, None) < PAUSE_MAX + Duration::from_secs(1));
        assert!(pause(4, None) > pause(1, None));
    }
}
