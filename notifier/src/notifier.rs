//! What every socket works with.

use std::sync::Arc;

use contract::booking_id::BookingIds;
use platform::{Shutdown, cache::Cache};
use store::{Pool, bookings::Looker};

use crate::{hub::Hub, seats::Seats};

/// The state of the service.
pub(crate) struct Notifier {
    pub(crate) pool: Pool,
    pub(crate) looker: Looker,
    pub(crate) cache: Cache,
    pub(crate) ids: BookingIds,
    pub(crate) hub: Hub,
    pub(crate) seats: Arc<Seats>,
    pub(crate) shutdown: Shutdown,
}
