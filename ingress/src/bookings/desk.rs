//! The state of the booking calls, beside the service's state.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contract::{booking_id::BookingIds, keys::MasterKey};
use platform::{
    Shutdown,
    broker::{Broker, Publisher},
};
use store::{bookings::Looker, bound_keys};

use super::{
    acceptances::Acceptances,
    hall::Halls,
    intake::Intake,
    outcomes::Outcomes,
    questions::{self, Questions},
};
use crate::state::State;

/// How often Redis is asked whether it still has all the keys it was given.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// State of the booking calls; cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Shared>);

/// What [`Desk`] holds.
pub(crate) struct Shared {
    pub(crate) state: State,
    pub(crate) ids: BookingIds,
    pub(crate) intake: Intake,
    pub(crate) outcomes: Outcomes,
    pub(crate) looker: Looker,
    pub(crate) questions: Questions,
    pub(crate) halls: Halls,
    /// Keys that were used but could not be written to Redis. While there are any, a key that Redis
    /// does not know may still have been used.
    pub(crate) untold: Arc<AtomicU64>,
}

impl Desk {
    /// Opens the desk. Also returns its publisher, for the readiness check.
    pub(crate) fn open(
        state: State,
        master: &MasterKey,
        amqp_url: &str,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(Self, Publisher)> {
        let publishing = Broker::connect(amqp_url, "ingress-publish", shutdown)?;
        let consuming = Broker::connect(amqp_url, "ingress-outcomes", shutdown)?;
        let publisher = Publisher::new(publishing);
        let outcomes = Outcomes::default();
        shutdown.spawn_vital("outcomes", outcomes.clone().listen(consuming, shutdown.clone()));
        let acceptances = Acceptances::start(state.following.clone(), shutdown);
        let looker = Looker::new(state.following.clone(), shutdown.clone());
        let untold = Arc::default();
        tend_memory(&state, Arc::clone(&untold), shutdown);
        let desk = Self(Arc::new(Shared {
            halls: Halls::new(state.following.clone()),
            ids: BookingIds::new(master),
            intake: Intake::new(
                publisher.clone(),
                acceptances,
                state.board.clone(),
                shutdown.clone(),
            ),
            outcomes,
            questions: Questions::new(
                state.following.clone(),
                looker.clone(),
                questions::PER_SECOND,
            ),
            looker,
            untold,
            state,
        }));
        Ok((desk, publisher))
    }
}

/// Keeps the record of since when Redis knows all keys: it begins anew once Redis has lost keys or
/// was not told of one.
fn tend_memory(state: &State, untold: Arc<AtomicU64>, shutdown: &Shutdown) {
    let (state, stop) = (state.clone(), shutdown.clone());
    shutdown.spawn(async move {
        loop {
            // Keys that are added meanwhile are left for the next round.
            let n_untold = untold.load(Ordering::SeqCst);
            if n_untold > 0 && bound_keys::begin_anew(&state.cache).await.is_ok() {
                untold.fetch_sub(n_untold, Ordering::SeqCst);
            }
            let now = state.board.borrow().now();
            // If Redis is away, the next round or the next refused request asks again.
            let _ = bound_keys::tend(&state.cache, now).await;
            if !stop.sleep(TEND_EVERY).await {
                return;
            }
        }
    });
}

impl Deref for Desk {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
