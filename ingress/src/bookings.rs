//! Bookings: requests are checked, published, and answered 202 once the broker has confirmed them.
//! Also reading bookings, and holds, orders, payments and cancellations.

mod door;
mod submit;
mod repetition;
mod questions;
mod intake;
mod acceptances;
mod outcomes;
mod seat_tiers;
mod holds;
mod orders;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contract::booking_id::BookingIds;
use platform::{
    Shutdown,
    broker::{Broker, Publisher},
    config::Backends,
};
use store::{Pool, bookings::Looker, bound_keys, live::board::Board};
use tokio::sync::watch;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Ingress;
use acceptances::Acceptances;
use intake::Intake;
use outcomes::Outcomes;
use questions::Questions;
use seat_tiers::SeatTiers;

/// How often Redis is asked whether it still has all the keys it was given.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// The state of the booking calls.
pub(crate) struct Bookings {
    pub(crate) ids: BookingIds,
    /// For the readiness check.
    pub(crate) publisher: Publisher,
    intake: Intake,
    outcomes: Outcomes,
    looker: Looker,
    questions: Questions,
    seat_tiers: SeatTiers,
    /// Keys that were used but could not be written to Redis. While there are any, a key that Redis
    /// does not know may still have been used.
    untold: AtomicU64,
}

impl Bookings {
    /// Connects to the broker, and starts the tasks that hear outcomes and report acceptances.
    pub(crate) fn start(
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
        let acceptances = Acceptances::start(following.clone(), shutdown);
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

/// Keeps the record of since when Redis knows all keys: it begins anew once Redis has lost keys or
/// was not told of one.
pub(crate) fn tend_memory(ingress: &Arc<Ingress>, shutdown: &Shutdown) {
    let (ingress, stop) = (Arc::clone(ingress), shutdown.clone());
    shutdown.spawn(async move {
        let untold = &ingress.bookings.untold;
        loop {
            // Keys that are added meanwhile are left for the next round.
            let n_untold = untold.load(Ordering::SeqCst);
            if n_untold > 0 && bound_keys::begin_anew(&ingress.cache).await.is_ok() {
                untold.fetch_sub(n_untold, Ordering::SeqCst);
            }
            let now = ingress.board.borrow().now();
            // If Redis is away, the next round or the next refused request asks again.
            let _ = bound_keys::tend(&ingress.cache, now).await;
            if !stop.sleep(TEND_EVERY).await {
                return;
            }
        }
    });
}

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default()
        .routes(routes!(submit::create))
        .routes(routes!(submit::read))
        .routes(routes!(holds::create))
        .routes(routes!(holds::read, holds::release))
        .routes(routes!(orders::create))
        .routes(routes!(orders::read))
        .routes(routes!(orders::read_by_reference))
        .routes(routes!(orders::confirm_payment))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::read_ticket))
        .routes(routes!(orders::list))
}
