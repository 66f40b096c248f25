//! What every socket works with.

use std::sync::Arc;

use contract::booking_id::BookingIds;
use platform::{Shutdown, cache::Cache};
use store::{Pool, bookings::Looker};

use crate::{hub::Hub, seats::Seats};

/// The state of the service.
pub(crate) struct Notifier {
    pub pool: Pool,
    pub looker: Looker,
    pub cache: Cache,
    pub ids: BookingIds,
    pub hub: Hub,
    pub seats: Arc<Seats>,
    pub shutdown: Shutdown,
}
