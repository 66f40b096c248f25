//! A client of the public API for which a call without an answer is normal.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;
use testing::Answer;

use crate::fleet::{Fleet, Node, PER_SERVICE, Service};

/// Longest wait for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(6);

/// A call to make.
pub struct Call<'a> {
    pub service: Service,
    pub method: Method,
    pub path: &'a str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl<'a> Call<'a> {
    pub fn new(service: Service, method: Method, path: &'a str) -> Self {
        Self { service, method, path, headers: Vec::new(), body: None }
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

/// A caller that uses the nodes of a service in turn.
pub struct Api {
    http: reqwest::Client,
    fleet: Fleet,
    token: String,
    address: Ipv4Addr,
    turn: AtomicUsize,
}

impl Api {
    /// A caller with this token, and an address of its own by the number `n`.
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

    /// The next node in turn.
    pub fn node(&self, service: Service) -> Node {
        Node { service, n: self.turn.fetch_add(1, Ordering::Relaxed) % PER_SERVICE }
    }

    /// The address of the next node of a service.
    pub fn origin(&self, service: Service) -> String {
        self.fleet.address(self.node(service)).to_string()
    }

    /// Makes one call. `None` if no whole answer came in time.
    pub async fn call(&self, call: &Call<'_>) -> Option<Answer> {
        let url = format!("http://{}/api/v1{}", self.origin(call.service), call.path);
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
        Answer::whole(response).await.ok()
    }
}

/// A client that keeps idle connections for 3 s only, since a node may be replaced.
pub fn http() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .pool_idle_timeout(Duration::from_secs(3))
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .build()?;
    Ok(client)
}
