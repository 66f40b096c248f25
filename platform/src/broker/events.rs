//! Hears booking events, for nodes with clients that wait for news of their bookings.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use contract::message::{BookingEvent, EventMessage};

use super::{Broker, Consumption, Delivery, declare_base, declare_live_queue};
use crate::Shutdown;

const PREFETCH: u16 = 500;
/// How often to look at the database while no event can come.
const LOOK_WHILE_DEAF: Duration = Duration::from_secs(3);

/// Hears the events of all bookings on a queue of this node's own, until the shutdown begins.
///
/// `look` is called when events may have been missed: once when the queue is there again, and every
/// few seconds while it is not.
pub async fn hear(
    broker: Broker,
    shutdown: Shutdown,
    heard: impl Fn(BookingEvent),
    look: impl Fn(),
) {
    let is_on = AtomicBool::new(false);
    let told = |begun| {
        is_on.store(begun, Ordering::Relaxed);
        if begun {
            look();
        } else {
            metrics::counter!("usher_events_interrupted_total").increment(1);
        }
    };
    let hearing = hear_all(broker, shutdown.clone(), heard, told);
    let looking = async {
        while shutdown.sleep(LOOK_WHILE_DEAF).await {
            if !is_on.load(Ordering::Relaxed) {
                look();
            }
        }
    };
    tokio::join!(hearing, looking);
}

fn hear_all(
    broker: Broker,
    shutdown: Shutdown,
    heard: impl Fn(BookingEvent),
    told: impl Fn(bool),
) -> impl Future<Output = ()> {
    let prepare = |channel| async move {
        declare_base(&channel).await?;
        Ok(declare_live_queue(&channel).await?)
    };
    let each = move |delivery: Delivery| {
        EventMessage::decode(&delivery.data).into_iter().flatten().for_each(&heard);
        std::future::ready(Consumption::Ack)
    };
    broker.consume_told(PREFETCH, shutdown, prepare, each, told)
}
