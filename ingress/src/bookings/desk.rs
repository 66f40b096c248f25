//! What the booking calls work with, beside the service's state.

use std::{ops::Deref, sync::Arc};

use contract::{booking_id::BookingIds, keys::MasterKey};
use platform::{
    Shutdown,
    broker::{Broker, Publisher},
};

use super::{acceptances::Acceptances, hall::Halls, intake::Intake, outcomes::Outcomes};
use crate::state::State;

/// State of the booking calls; cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Shared>);

/// What [`Desk`] holds.
pub(crate) struct Shared {
    pub(crate) state: State,
    pub(crate) ids: BookingIds,
    pub(crate) intake: Intake,
    pub(crate) outcomes: Outcomes,
    pub(crate) halls: Halls,
}

impl Desk {
    /// Opens the desk. Returns it with the publisher it cannot take anything in without.
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
        let acceptances = Acceptances::start(state.pool.clone(), shutdown);
        let desk = Self(Arc::new(Shared {
            halls: Halls::new(state.pool.clone()),
            ids: BookingIds::new(master),
            intake: Intake::new(publisher.clone(), acceptances, shutdown.clone()),
            outcomes,
            state,
        }));
        Ok((desk, publisher))
    }
}

impl Deref for Desk {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
