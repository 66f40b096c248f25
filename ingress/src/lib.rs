//! The public REST API: accounts, catalogue, bookings, administration. It promises bookings and
//! tells how they ended; deciding them is the allocator's.

mod config;
pub mod metrics;
mod state;
mod accounts;
mod sessions;
mod sign_ups;
mod account_ids;
mod sign_ins;
mod passwords;
mod catalogue;
mod seat_maps;
mod admin;
mod bookings;
mod idempotency;
mod limits;
mod page;
mod check;
mod errors;
mod jwks;
mod openapi;

use anyhow::Context as _;
use axum::{Router, routing::get};
use contract::api::BASE;
use platform::{
    Service, Shutdown,
    http::{Door, docs, with_door},
};

pub use config::{Config, SignIn};
pub use limits::{LimitSettings, ROUTES};
use state::State;

/// Starts the service; its background tasks belong to the shutdown.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    platform::telemetry::describe([store::metrics::METRICS, metrics::METRICS]);
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
        .route("/.well-known/jwks.json", get(jwks::jwks))
        .with_state(state.clone())
        .nest(BASE, bookings::router(desk))
        .merge(docs());
    let guard = limits::guard(&config.limits, shutdown);
    let door = Door::new(state.access.clone(), &config.http);
    let (board, cache) = (state.board.clone(), state.cache.clone());
    Ok(Service::new(with_door(guard.before(router), door), openapi::openapi())
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
