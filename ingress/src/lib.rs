//! The public REST API: accounts, catalogue, bookings, administration. It promises bookings and
//! tells how they ended; deciding them is the allocator's.

mod state;
mod accounts;
mod sessions;
mod sign_ups;
mod sign_ins;
mod passwords;
mod catalogue;
mod admin;
mod bookings;
mod idempotency;
mod limits;
mod page;
mod check;
mod errors;
mod openapi;
mod docs;

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{Json, Router, routing::get};
use clap::Args;
use contract::api::BASE;
use platform::{
    Service, Shutdown,
    config::{Backends, Http},
    http::{Door, with_door},
};
use utoipa::openapi::OpenApi;

pub use limits::{LimitSettings, ROUTES};
pub use openapi::openapi;
use state::State;

/// Settings of this service.
#[derive(Args, Clone)]
pub struct Config {
    /// Where this service listens, on its own.
    #[arg(long, env = "USHER_INGRESS_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub http: Http,
    #[command(flatten)]
    pub sign_in: SignIn,
    #[command(flatten)]
    pub limits: LimitSettings,
}

/// How people sign in.
#[derive(Args, Clone, Debug)]
pub struct SignIn {
    /// Seconds for which an access token is good; then it is refreshed.
    #[arg(long, env = "USHER_ACCESS_TOKEN_SECONDS", default_value_t = 900,
          value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub access_token_seconds: u32,
    /// Days after which somebody signs in again, however often the session was refreshed.
    #[arg(long, env = "USHER_SESSION_DAYS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=365))]
    pub session_days: u32,
    /// Passwords hashed at the same time; each takes 19 MiB and one core for some 30 ms.
    #[arg(long, env = "USHER_PASSWORD_HASHES_MAX", default_value_t = 2)]
    pub password_hashes_max: usize,
}

/// Starts the service; its background tasks belong to the shutdown.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    start_with(config, shutdown, openapi()).await
}

/// Starts the service and lets it serve this description of the API, which may cover more
/// services than this one.
pub async fn start_with(
    config: &Config,
    shutdown: &Shutdown,
    document: OpenApi,
) -> anyhow::Result<Service> {
    let state = State::start(config, shutdown).await.context("ingress cannot start")?;
    let backends = &config.backends;
    let (desk, publisher) =
        bookings::Desk::open(state.clone(), &backends.master_key, &backends.amqp_url, shutdown)?;
    let api = Router::new()
        .merge(accounts::router())
        .merge(sign_ups::router())
        .merge(sessions::router())
        .merge(catalogue::router())
        .merge(admin::router());
    let router = Router::new()
        .nest(BASE, api)
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(state.clone())
        .nest(BASE, bookings::router(desk))
        .merge(docs::router(document)?);
    let guard = limits::guard(&config.limits, shutdown);
    let door = Door::new(state.access.clone(), &config.http);
    let (board, cache) = (state.board.clone(), state.cache.clone());
    Ok(Service::new(with_door(guard.before(router), door))
        .needs("postgres", move || {
            let age = board.borrow().age();
            async move { state::fresh_enough(age) }
        })
        .uses("redis", move || {
            let cache = cache.clone();
            async move { cache.can_write("ingress:ready").await }
        })
        .needs("rabbitmq", move || {
            let publisher = publisher.clone();
            async move { publisher.check().await }
        }))
}

/// The keys that passes are signed with
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "keys", responses(
    (status = 200, body = contract::pass::Jwks),
))]
async fn jwks(state: State) -> Json<contract::pass::Jwks> {
    Json(state.pass_keys.borrow().jwks())
}
