//! A running ingress on backends of its own, and a client for it.

use std::{net::SocketAddr, sync::Arc};

use clap::{Args as _, Command, FromArgMatches as _};
use contract::{
    AccountId,
    access::{AccessKeys, Role, Token},
};
use ingress::Config;
use platform::{Shutdown, bind, clock, http};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use store::Pool;
use testing::{Answer, Slot};

/// An address at which nobody listens.
pub(crate) const NO_REDIS: &str = "redis://127.0.0.1:1/0";

/// An ingress in this process, on a port of its own.
pub(crate) struct Ingress {
    pub(crate) pool: Pool,
    pub(crate) http: reqwest::Client,
    address: SocketAddr,
    access: AccessKeys,
    shutdown: Shutdown,
    /// Keeps other tests off the backends.
    slot: Arc<Slot>,
}

impl Ingress {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts an ingress with these arguments besides the backends.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        Self::start_on(Arc::new(Slot::take().await), arguments).await
    }

    /// Starts an ingress with this Redis.
    pub(crate) async fn start_with_redis(url: &str) -> Self {
        let mut slot = Slot::take().await;
        slot.redis_url = url.into();
        Self::start_on(Arc::new(slot), &[]).await
    }

    /// Starts another node on the same backends.
    pub(crate) async fn start_beside(&self) -> Self {
        Self::start_on(Arc::clone(&self.slot), &[]).await
    }

    async fn start_on(slot: Arc<Slot>, arguments: &[&str]) -> Self {
        let config = config(&slot, arguments);
        let shutdown = Shutdown::default();
        let service = ingress::start(&config, &shutdown).await.unwrap();
        let listener = bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (http, stop) = (config.http.clone(), shutdown.clone());
        shutdown.spawn(async move { http::serve(listener, service, &http, &stop).await });
        Self {
            pool: slot.pool(),
            http: reqwest::Client::new(),
            address,
            access: AccessKeys::new(&slot.master_key()),
            shutdown,
            slot,
        }
    }

    /// The token of a new account with this role.
    pub(crate) async fn token(&self, role: Role) -> String {
        self.token_of(testing::account(&self.pool, role).await, role).await
    }

    /// The token of an account that has this role.
    pub(crate) async fn token_of(&self, id: AccountId, role: Role) -> String {
        let known = store::accounts::credentials(&self.pool, id).await.unwrap().unwrap();
        self.access.sign(&Token {
            account: id,
            role,
            generation: known.generation,
            session: None,
            issued_at: Some(clock::now()),
            expires_at: clock::now() + std::time::Duration::from_mins(10),
        })
    }

    /// A call under the base path; a path that begins with `//` is taken from the root.
    pub(crate) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let base = if path.starts_with("//") { "" } else { contract::api::BASE };
        let path = path.trim_start_matches('/');
        self.http.request(method, format!("http://{}{base}/{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.call(Method::GET, path)).await
    }

    /// Sends JSON as the owner of the token, if any.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Answer {
        let call = self.call(method, path).json(body);
        Answer::to(match token {
            Some(token) => call.bearer_auth(token),
            None => call,
        })
        .await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(token), body).await
    }

    /// Stops the service and waits for its tasks.
    pub(crate) async fn stop(self) {
        self.pool.close().await;
        assert!(self.shutdown.finish(std::time::Duration::from_secs(5)).await);
    }
}

fn config(slot: &Slot, arguments: &[&str]) -> Config {
    let given = [
        ("--listen", "127.0.0.1:0"),
        ("--database-url", &slot.database_url),
        ("--redis-url", &slot.redis_url),
        ("--amqp-url", &slot.amqp_url),
        ("--master-key", &slot.master_key_text),
    ];
    let command = Config::augment_args(Command::new("test").no_binary_name(true));
    let given = given.iter().flat_map(|(name, value)| [*name, *value]);
    let matches = command.get_matches_from(given.chain(arguments.iter().copied()));
    Config::from_arg_matches(&matches).unwrap()
}

/// A movie, a theatre and a screen, from which a show can be made.
pub(crate) struct Programme {
    pub(crate) movie: String,
    pub(crate) theatre: String,
    pub(crate) screen: String,
}

impl Programme {
    pub(crate) async fn make(ingress: &Ingress, admin: &str) -> Self {
        let movie = ingress.post("/movies", admin, &movie("Monsoon Express")).await;
        let theatre = ingress.post("/theatres", admin, &theatre("Regal")).await;
        let (movie, theatre) = (movie.id("movieId"), theatre.id("theatreId"));
        let screen = ingress.post("/screens", admin, &screen(&theatre)).await;
        Self { movie, theatre, screen: screen.id("screenId") }
    }

    /// The body of a show in two days, on sale for a day from now.
    pub(crate) fn show(&self) -> Value {
        let hours = |n: u64| clock::now() + std::time::Duration::from_hours(n);
        json!({
            "movieId": self.movie, "theatreId": self.theatre, "screenId": self.screen,
            "startsAt": hours(48), "saleOpensAt": hours(0), "saleClosesAt": hours(24),
            "prices": [
                {"tier": "STANDARD", "amount": 30_000, "currency": "INR"},
                {"tier": "FLOOR", "amount": 10_000, "currency": "INR"},
            ],
            "maxSeatsPerUser": 4,
        })
    }
}

pub(crate) fn movie(title: &str) -> Value {
    json!({
        "title": title, "description": "A train.\nA storm.", "genres": ["Drama", "Thriller"],
        "rating": "UA 13+", "durationMinutes": 128, "releaseDate": "2026-11-20",
        "language": "Hindi",
    })
}

pub(crate) fn theatre(name: &str) -> Value {
    json!({
        "name": name, "address": "1 Marine Drive", "city": "Mumbai",
        "latitude": 18.94, "longitude": 72.82,
    })
}

/// Two rows of STANDARD, one RECLINER, 50 places on the FLOOR; an aisle and a broken seat.
pub(crate) fn screen(theatre: &str) -> Value {
    let seat = |id: &str, kind: &str| json!({"seatId": id, "tier": "STANDARD", "kind": kind});
    json!({
        "theatreId": theatre, "name": "Screen 1",
        "tiers": [
            {"tier": "STANDARD", "name": "Standard", "generalAdmission": false},
            {"tier": "RECLINER", "name": "Recliner", "generalAdmission": false},
            {"tier": "FLOOR", "name": "Floor", "generalAdmission": true, "capacity": 50},
        ],
        "layout": {"rows": [
            {"row": "A", "seats": [
                seat("A1", "seat"), seat("A-", "aisle"), seat("A2", "wheelchair"),
            ]},
            {"row": "B", "seats": [
                seat("B1", "seat"), seat("B2", "unavailable"),
                {"seatId": "B3", "tier": "RECLINER"},
            ]},
        ]},
    })
}
