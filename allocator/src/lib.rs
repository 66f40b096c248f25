//! The allocator: the only service that gives out seats.
//!
//! It owns some of the partitions, each with one [`keeper`], whose [`session`] consumes the
//! partition's queue, decides in batches and commits each batch in one transaction. It also ends
//! lapsed bookings, relays events to the broker, keeps seat locks equal to the claims, and gives
//! parked bookings their outcome. It accepts nothing from clients.

mod config;
pub mod metrics;
mod share;
mod roster;
mod allocator;
mod keeper;
mod reading;
mod session;
mod batch;
mod failure;
mod lines;
mod decide;
mod locks;
mod seat_map;
mod come_back;
mod made_out;
mod waiting;
mod newer;
mod sweep;
mod relay;
mod parking;
mod unrouted;
mod queues;
mod backlog;
mod in_hand;
#[cfg(test)]
mod example;

use std::sync::Arc;

use contract::booking_id::BookingIds;
use platform::{
    Service, Shutdown,
    broker::{Broker, Connections, Publisher},
    cache::Cache,
};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use allocator::Allocator;
pub use config::Config;
use roster::Roster;

/// Starts the allocator's work in the background; it belongs to the shutdown.
pub fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    platform::telemetry::describe([store::metrics::METRICS, metrics::METRICS]);
    let backends = &config.backends;
    let pool =
        store::connect(&backends.database_url, "allocator", backends.database_connections_max)?;
    let following = store::connect_to_follow(&backends.database_url, "allocator")?;
    let retries_max = (backends.database_connections_max / 2).max(1) as usize;
    let consuming = Connections::start(&backends.amqp_url, "allocator-consume", shutdown)?;
    let publishing = Broker::connect(&backends.amqp_url, "allocator-publish", shutdown)?;
    let publisher = Publisher::new(publishing.clone());
    let (set_changed, changed) = mpsc::channel(locks::CHANGES_MAX);
    let (set_roster, roster) = watch::channel(Roster::new());
    let (set_redis_lost, redis_lost) = watch::channel(0);
    let waiting = waiting::WaitingPartitions::default();
    let allocator = Allocator {
        pool: pool.clone(),
        following,
        retries: Arc::new(Semaphore::new(retries_max)),
        cache: Cache::new(&backends.redis_url)?,
        consuming: consuming.clone(),
        publishing,
        publisher: publisher.clone(),
        ids: BookingIds::new(&backends.master_key),
        batch_bookings_max: config.batch_bookings_max.max(1),
        events: Arc::new(Notify::new()),
        changed: set_changed,
        redis_lost,
        walks: Arc::new(Semaphore::new(locks::WALKS_MAX)),
        declares: Arc::new(Semaphore::new(keeper::DECLARES_MAX)),
        missed: watch::Sender::default(),
        roster,
        waiting: waiting.clone(),
        lines: lines::Lines::default(),
        shutdown: shutdown.clone(),
    };
    shutdown.spawn_vital("partitions", share::run(allocator.clone(), set_roster));
    shutdown.spawn_vital("sweep", sweep::run(allocator.clone()));
    shutdown.spawn_vital(
        "seat locks",
        locks::follow(allocator.clone(), changed, set_redis_lost.clone()),
    );
    shutdown.spawn_vital("witness", locks::watch_redis(allocator.clone(), set_redis_lost));
    shutdown.spawn_vital("relay", relay::run(allocator.clone()));
    shutdown.spawn_vital("newer", newer::run(allocator.clone()));
    shutdown.spawn_vital("parking", parking::run_parked(allocator.clone()));
    shutdown.spawn_vital("unrouted", unrouted::run(allocator));
    Ok(Service::default()
        .needs("postgres", move || store::pool::check(pool.clone()))
        // Not needed: a node that also answers clients can still do that.
        .uses("installation", move || {
            let waiting = waiting.clone();
            async move { waiting.check() }
        })
        .needs("rabbitmq", move || {
            let (consuming, publisher) = (consuming.clone(), publisher.clone());
            async move {
                consuming.first().check()?;
                publisher.check().await
            }
        }))
}
