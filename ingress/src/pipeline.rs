//! What the booking calls work with: publishing, numbers of accepted requests, outcomes that are
//! waited for, looks at bookings, and the seats of shows.

pub(crate) mod intake;
mod acceptances;
pub(crate) mod outcomes;
mod questions;
mod seat_tiers;

use std::sync::{Arc, atomic::AtomicU64};

use contract::booking_id::BookingIds;
use platform::{
    Shutdown,
    broker::{Broker, Publisher},
    config::Backends,
};
use store::{Pool, bookings::Looker, live::board::Board};
use tokio::sync::watch;

use acceptances::Acceptances;
use intake::Intake;
use outcomes::Outcomes;
use questions::Questions;
use seat_tiers::SeatTiers;

/// The way of a booking through this node, from its acceptance to its outcome.
pub(crate) struct Pipeline {
    pub(crate) ids: BookingIds,
    /// For the readiness check.
    pub(crate) publisher: Publisher,
    pub(crate) intake: Intake,
    pub(crate) outcomes: Outcomes,
    pub(crate) looker: Looker,
    pub(crate) questions: Questions,
    pub(crate) seat_tiers: SeatTiers,
    /// Keys that were used but could not be written to Redis. While there are any, a key that Redis
    /// does not know may still have been used.
    pub(crate) untold: AtomicU64,
}

impl Pipeline {
    /// Connects to the broker, and starts the tasks that hear outcomes and report acceptances.
    pub(crate) async fn start(
        following: &Pool,
        board: &watch::Receiver<Arc<Board>>,
        backends: &Backends,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let publishing = Broker::connect(&backends.amqp_url, "ingress-publish", shutdown)?;
        let consuming = Broker::connect(&backends.amqp_url, "ingress-outcomes", shutdown)?;
        let publisher = Publisher::new(publishing);
        let outcomes = Outcomes::default();
        shutdown.spawn_vital("outcomes", outcomes.clone().listen(consuming, shutdown.clone()));
        let acceptances = Acceptances::start(following.clone(), shutdown).await?;
        let looker = Looker::new(following.clone(), shutdown.clone());
        Ok(Self {
            ids: BookingIds::new(&backends.master_key),
            intake: Intake::new(publisher.clone(), acceptances, board.clone(), shutdown.clone()),
            publisher,
            outcomes,
            questions: Questions::new(following.clone(), looker.clone(), questions::PER_SECOND),
            looker,
            seat_tiers: SeatTiers::new(following.clone()),
            untold: AtomicU64::default(),
        })
    }
}
