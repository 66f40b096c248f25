//! The notifier: what became of a booking, told to its owner over WebSocket as it happens; and all
//! mails.
//!
//! It hears every event of every booking on a queue of its own, and finds out whom it concerns: the
//! owner of the booking gets the booking as it stands in the database, the watchers of the show get
//! its seats. It decides nothing, and what it keeps in memory can be read again.

mod config;
pub mod metrics;
mod limits;
mod live;
mod socket;
mod notifier;
mod hub;
mod seats;
mod seats_socket;
mod mail;

use std::sync::Arc;

use contract::{api::BASE, booking_id::BookingIds, message::BookingEvent};
use platform::{
    Service, Shutdown,
    access::Access,
    broker::{self, Broker},
    cache::Cache,
    http::Door,
};
use store::bookings::Looker;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use config::Config;
use hub::Hub;
pub use limits::ROUTES;
use notifier::Notifier;
use seats::Seats;

/// Starts the notifier; the task that hears events belongs to the shutdown.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    platform::telemetry::describe([store::metrics::METRICS, metrics::METRICS]);
    let backends = &config.backends;
    let pool =
        store::connect(&backends.database_url, "notifier", backends.database_connections_max)?;
    let broker = Broker::connect(&backends.amqp_url, "notifier", shutdown)?;
    let hub = Hub::new();
    let seats = Arc::new(Seats::new(pool.clone()));
    mail::start(config, &pool, &broker, shutdown)?;
    let hearing = hear(broker.clone(), shutdown.clone(), hub.clone(), Arc::clone(&seats));
    shutdown.spawn_vital("events", hearing);
    shutdown.spawn_vital("seats", Arc::clone(&seats).follow(shutdown.clone()));
    let notifier = Notifier {
        pool: pool.clone(),
        looker: Looker::new(pool.clone(), shutdown.clone()),
        cache: Cache::new(&backends.redis_url)?,
        ids: BookingIds::new(&backends.master_key),
        hub,
        seats,
        shutdown: shutdown.clone(),
    };
    let api = OpenApiRouter::default()
        .routes(routes!(live::watch_booking))
        .routes(routes!(live::watch_account))
        .routes(routes!(live::watch_seats))
        .with_state(Arc::new(notifier));
    let revocations = store::revocations::follow(pool.clone(), shutdown).await?;
    let door = Door::new(Access::new(&backends.master_key, revocations), &config.http);
    let router = limits::guard(shutdown).before(OpenApiRouter::default().nest(BASE, api), door);
    Ok(Service::new(router)
        .needs("postgres", move || store::pool::check(pool.clone()))
        .needs("rabbitmq", move || std::future::ready(broker.check())))
}

/// Hears events until the shutdown begins.
async fn hear(broker: Broker, shutdown: Shutdown, hub: Hub, seats: Arc<Seats>) {
    let heard = |event: BookingEvent| {
        hub.tell(event.account_id, event.booking_id);
        seats.touch(event.show_id, &event.seat_ids);
    };
    let missed = || {
        hub.tell_all_to_look();
        seats.touch_all();
    };
    broker::hear(broker, shutdown, heard, missed).await;
}
