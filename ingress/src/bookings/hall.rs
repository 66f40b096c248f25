//! Which seats a show has, kept in memory: they never change once the show exists.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contract::{SeatLabel, ShowId, TierCode};
use store::{PgPool, StoreResult, partitions};

/// Shows kept; past it, all are forgotten and read again as they are asked for.
const SHOWS_MAX: usize = 256;

type Hall = Arc<HashMap<SeatLabel, TierCode>>;

/// Seats of shows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Halls {
    pool: PgPool,
    known: Arc<Mutex<HashMap<ShowId, Hall>>>,
}

impl Halls {
    /// Reads from this database.
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, known: Arc::default() }
    }

    /// The tier of each seat of a show.
    pub(crate) async fn of(&self, show: ShowId) -> StoreResult<Hall> {
        if let Some(hall) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&show) {
            return Ok(Arc::clone(hall));
        }
        let seats = partitions::seats_of(&self.pool, show).await?;
        let hall: Hall = Arc::new(seats.into_iter().collect());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SHOWS_MAX {
            known.clear();
        }
        known.insert(show, Arc::clone(&hall));
        Ok(hall)
    }
}
