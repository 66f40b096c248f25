//! The notifier: what became of a booking, told to its owner over WebSocket as it happens.
//!
//! It hears every event of every booking on a queue of its own, finds out who is listening, and
//! sends the booking as it stands in the database. It decides nothing and remembers nothing.

pub mod metrics;
mod limits;
mod live;
mod socket;
mod notifier;
mod hub;

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
use contract::{api::BASE, booking_id::BookingIds};
use platform::{
    Service, Shutdown,
    access::Access,
    broker::Broker,
    cache::Cache,
    config::{Backends, Http, Listen},
    http::{Door, with_door},
};
use store::bookings::Looker;
use utoipa_axum::{router::OpenApiRouter, routes};

use hub::Hub;
pub use limits::ROUTES;
use notifier::Notifier;

/// Settings of the notifier.
#[derive(Args, Clone)]
#[command(about = "Tells people what became of their bookings")]
pub struct Config {
    /// Address the notifier listens on.
    #[arg(long, env = "USHER_NOTIFIER_LISTEN", default_value = "127.0.0.1:8084")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub http: Http,
}

impl Listen for Config {
    fn listen(&self) -> (SocketAddr, &Http) {
        (self.listen, &self.http)
    }
}

/// Starts the notifier; the task that hears events belongs to the shutdown.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    platform::telemetry::describe([store::metrics::METRICS, metrics::METRICS]);
    let backends = &config.backends;
    let pool =
        store::connect(&backends.database_url, "notifier", backends.database_connections_max)?;
    let broker = Broker::connect(&backends.amqp_url, "notifier", shutdown)?;
    let hub = Hub::new();
    shutdown.spawn_vital("events", hub.clone().listen(broker.clone(), shutdown.clone()));
    let notifier = Notifier {
        pool: pool.clone(),
        looker: Looker::new(pool.clone(), shutdown.clone()),
        cache: Cache::new(&backends.redis_url)?,
        ids: BookingIds::new(&backends.master_key),
        hub,
        shutdown: shutdown.clone(),
    };
    let api = OpenApiRouter::default()
        .routes(routes!(live::watch_booking))
        .routes(routes!(live::watch_account))
        .with_state(Arc::new(notifier));
    let revocations = store::revocations::follow(pool.clone(), shutdown).await?;
    let door = Door::new(Access::new(&backends.master_key, revocations), &config.http);
    let router = limits::guard(shutdown).before(OpenApiRouter::default().nest(BASE, api));
    Ok(Service::new(with_door(router, door))
        .needs("postgres", move || store::pool::check(pool.clone()))
        .needs("rabbitmq", move || std::future::ready(broker.check())))
}
