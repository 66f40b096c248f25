//! The public API, called by somebody who knows that an answer may never come.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;

use crate::fleet::{Fleet, PER_ROLE, Role, Seat};

/// A client gives up on an answer after this.
const ANSWER_WAIT: Duration = Duration::from_secs(6);

/// An answer; `None` in its place means that nobody knows what became of the call.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The problem's code, or nothing.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }

    /// Whether asking again later may be answered otherwise, nothing having happened.
    pub fn is_not_now(&self) -> bool {
        self.status == 429 || (self.status == 503 && self.code() != "OUTCOME_UNKNOWN")
    }

    /// Whether the server itself does not know what became of it.
    pub fn is_unknown(&self) -> bool {
        self.code() == "OUTCOME_UNKNOWN" || matches!(self.status, 500 | 502 | 504)
    }
}

/// A call that is to be made.
pub struct Call<'a> {
    pub role: Role,
    pub method: Method,
    pub path: &'a str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl<'a> Call<'a> {
    pub fn new(role: Role, method: Method, path: &'a str) -> Self {
        Self { role, method, path, headers: Vec::new(), body: None }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// Somebody who calls, now at one node and now at another.
pub struct Api {
    http: reqwest::Client,
    fleet: Fleet,
    token: String,
    address: Ipv4Addr,
    turn: AtomicUsize,
}

impl Api {
    /// A caller with a token and an address of its own.
    pub fn new(http: &reqwest::Client, fleet: &Fleet, token: &str, n: usize) -> Self {
        let [_, a, b, c] = u32::try_from(n % 0x00ff_ffff).unwrap_or_default().to_be_bytes();
        Self {
            http: http.clone(),
            fleet: fleet.clone(),
            token: token.to_owned(),
            address: Ipv4Addr::new(10, a, b, c),
            turn: AtomicUsize::new(n),
        }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// The node that is next in turn.
    pub fn node(&self, role: Role) -> Seat {
        Seat { role, n: self.turn.fetch_add(1, Ordering::Relaxed) % PER_ROLE }
    }

    /// Where the next node of a role listens.
    pub fn origin(&self, role: Role) -> String {
        self.fleet.address(self.node(role)).to_string()
    }

    /// Makes one call. `None` where no whole answer came in time.
    pub async fn call(&self, call: &Call<'_>) -> Option<Answer> {
        let url = format!("http://{}/api/v1{}", self.origin(call.role), call.path);
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .bearer_auth(&self.token)
            .header("x-forwarded-for", self.address.to_string())
            .timeout(ANSWER_WAIT);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }
}

/// A client that keeps no connection for long: the node behind it may have been replaced.
pub fn http() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .pool_idle_timeout(Duration::from_secs(3))
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .build()?;
    Ok(client)
}
