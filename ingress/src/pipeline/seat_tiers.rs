//! The seats of shows, kept in memory: they never change once the show exists.

use std::{collections::HashMap, sync::Arc};

use contract::{SeatLabel, ShowId, TierCode};
use moka::future::Cache;
use platform::http::{ApiError, ApiResult};
use store::{Pool, partitions};

use crate::errors::database;

/// Most seats kept, of all shows together; some hundred bytes each. Beyond it the shows that are
/// asked for least are dropped.
const SEATS_MAX: u64 = 500_000;

type TierBySeat = Arc<HashMap<SeatLabel, TierCode>>;

/// Seats of shows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SeatTiers {
    pool: Pool,
    known: Cache<ShowId, TierBySeat>,
}

impl SeatTiers {
    /// Reads from this database.
    pub(crate) fn new(pool: Pool) -> Self {
        // An empty hall counts as one seat, so that the cache stays bounded.
        let weigh =
            |_: &ShowId, tiers: &TierBySeat| u32::try_from(tiers.len()).unwrap_or(u32::MAX).max(1);
        Self { pool, known: Cache::builder().max_capacity(SEATS_MAX).weigher(weigh).build() }
    }

    /// The tier of each seat of a show. Concurrent calls share one read.
    pub(crate) async fn of_show(&self, show: ShowId) -> ApiResult<TierBySeat> {
        let pool = self.pool.clone();
        let read = async move {
            let seats = store::detached(async move { partitions::seats_of(&pool, show).await });
            ApiResult::Ok(Arc::new(seats.await.map_err(database)?.into_iter().collect()))
        };
        let read = self.known.try_get_with(show, read).await;
        read.map_err(|error: Arc<ApiError>| ApiError::clone(&error))
    }
}
