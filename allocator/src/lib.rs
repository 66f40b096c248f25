//! The allocator: the only one that gives out seats.
//!
//! It owns some of the partitions, each with one [`session`] that consumes the partition's
//! queue, decides in batches and commits each batch in one transaction. Beside that it sweeps
//! what has lapsed, relays events to the broker, and gives parked bookings their outcome. It
//! accepts nothing from clients.

mod share;
mod session;
mod batch;
mod decide;
mod seat_map;
mod poison;
mod sweep;
mod relay;
mod parking;
mod queues;
mod backlog;

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use clap::Args;
use platform::{
    Service, Shutdown,
    broker::{Broker, Publisher},
    cache::Cache,
    config::{Backends, Http},
};
use store::PgPool;
use tokio::sync::Notify;

/// Settings of the allocator.
#[derive(Args, Clone)]
pub struct Config {
    /// Where health and readiness are answered.
    #[arg(long, env = "USHER_ALLOCATOR_LISTEN", default_value = "127.0.0.1:8083")]
    pub listen: SocketAddr,
    /// Most bookings decided in one transaction.
    #[arg(long, env = "USHER_BATCH_BOOKINGS_MAX", default_value_t = 512)]
    pub batch_bookings_max: usize,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub http: Http,
}

/// What every part of the allocator works with.
#[derive(Clone)]
struct Office {
    pool: PgPool,
    cache: Cache,
    consuming: Broker,
    publishing: Broker,
    publisher: Publisher,
    batch_bookings_max: usize,
    /// Wakes the relay when events were committed here.
    events: Arc<Notify>,
    shutdown: Shutdown,
}

/// Starts the allocator's work in the background; it belongs to the shutdown.
#[expect(clippy::unused_async, reason = "services start alike; the others wait for something")]
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    let backends = &config.backends;
    let pool =
        store::connect(&backends.database_url, "allocator", backends.database_connections_max)?;
    let consuming = Broker::connect(&backends.amqp_url, "allocator-consume", shutdown)?;
    let publishing = Broker::connect(&backends.amqp_url, "allocator-publish", shutdown)?;
    let office = Office {
        pool: pool.clone(),
        cache: Cache::new(&backends.redis_url)?,
        consuming: consuming.clone(),
        publishing: publishing.clone(),
        publisher: Publisher::new(publishing.clone()),
        batch_bookings_max: config.batch_bookings_max.max(1),
        events: Arc::new(Notify::new()),
        shutdown: shutdown.clone(),
    };
    shutdown.spawn_vital("partitions", share::run(office.clone()));
    shutdown.spawn_vital("sweep", sweep::run(office.clone()));
    shutdown.spawn_vital("relay", relay::run(office.clone()));
    shutdown.spawn_vital("parking", parking::run_parked(office.clone()));
    shutdown.spawn_vital("unrouted", parking::run_unrouted(office));
    Ok(Service::new(Router::new())
        .needs("postgres", move || store::pool::check(pool.clone()))
        .needs("rabbitmq", move || std::future::ready(consuming.check().and(publishing.check()))))
}
