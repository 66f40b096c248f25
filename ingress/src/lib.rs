//! The public REST API: accounts, catalogue, bookings, administration. It accepts bookings and
//! returns their outcomes; the allocator decides them.

mod config;
pub mod metrics;
mod state;
mod accounts;
mod sessions;
mod devices;
mod second_factors;
mod codes;
mod api_keys;
mod key_callers;
mod scopes;
mod sign_ups;
mod mails;
mod account_ids;
mod sign_ins;
mod passwords;
mod catalogue;
mod kept;
mod admin;
mod bookings;
mod pipeline;
mod idempotency;
mod limits;
mod page;
mod check;
mod form;
mod errors;
mod jwks;

use std::{future::ready, sync::Arc};

use anyhow::Context as _;
use axum::http::request::Parts;
use contract::api::BASE;
use platform::{
    Service, Shutdown,
    http::{Door, docs, limits::by_token},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use config::{Config, SignIn};
use key_callers::Keyed;
pub use limits::{LimitSettings, ROUTES};
use state::Ingress;
use tower::layer::layer_fn;

/// The parts of the API, in words.
#[derive(OpenApi)]
#[openapi(tags(
    (name = "accounts", description = "Who is calling."),
    (name = "catalogue", description = "What is shown where and when."),
    (name = "administration", description = "What admins do, and organisers of theatres."),
))]
struct Api;

/// Starts the service; its background tasks belong to the shutdown.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    platform::telemetry::describe([store::metrics::METRICS, metrics::METRICS]);
    let ingress = Ingress::start(config, shutdown).await.context("ingress cannot start")?;
    bookings::tend_memory(&ingress, shutdown);
    let api = OpenApiRouter::default()
        .merge(accounts::router())
        .merge(sign_ups::router())
        .merge(sessions::router())
        .merge(devices::router())
        .merge(second_factors::router())
        .merge(api_keys::router())
        .merge(mails::router())
        .merge(catalogue::router(&ingress))
        .merge(admin::router(&ingress))
        .merge(bookings::router());
    let router = OpenApiRouter::with_openapi(Api::openapi())
        .nest(BASE, api)
        .routes(routes!(jwks::read))
        .with_state(Arc::clone(&ingress))
        .merge(docs().into());
    let callers = ingress.key_callers.clone();
    let router = router.layer(layer_fn(move |routes| Keyed { callers: callers.clone(), routes }));
    let callers = ingress.key_callers.clone();
    let guard = limits::guard(&config.limits, shutdown, move |parts: &mut Parts| {
        callers.limited(&parts.headers).or_else(|| by_token(parts))
    });
    let door = Door::new(ingress.access.clone(), &config.http);
    let (board, cache) = (ingress.board.clone(), ingress.cache.clone());
    Ok(Service::new(guard.before(router, door))
        .needs("postgres", move || ready(board.borrow().check()))
        .uses("redis", move || {
            let cache = cache.clone();
            async move { cache.can_write("ingress:ready").await }
        })
        .needs("rabbitmq", move || {
            let ingress = Arc::clone(&ingress);
            async move { ingress.pipeline.publisher.check().await }
        }))
}
