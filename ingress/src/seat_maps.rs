//! Seat maps, cached for less than half a second: a thousand visitors who look at the same hall
//! cost one read of the database.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use contract::{ShowId, api::problem::Code};
use moka::future::Cache;
use platform::http::{ApiError, ApiResult};
use store::{Pool, catalogue::seat_map};

use crate::errors::database;

/// How long a seat map is kept. An answer is at most 500 ms old while Postgres answers within
/// 100 ms.
const KEPT_FOR: Duration = Duration::from_millis(400);
/// Most shows whose map is kept; the least used is dropped first.
const SHOWS_MAX: u64 = 1_000;

/// The seat maps of shows, as JSON.
pub(crate) struct SeatMaps {
    pool: Pool,
    kept: Cache<ShowId, Bytes>,
}

impl SeatMaps {
    pub(crate) fn new(pool: Pool) -> Self {
        let kept = Cache::builder().max_capacity(SHOWS_MAX).time_to_live(KEPT_FOR).build();
        Self { pool, kept }
    }

    /// A show's seat map. Concurrent calls share one read.
    pub(crate) async fn of_show(&self, show: ShowId) -> ApiResult<Bytes> {
        let read = self.kept.try_get_with(show, read(self.pool.clone(), show)).await;
        read.map_err(|error: Arc<ApiError>| ApiError::clone(&error))
    }
}

async fn read(pool: Pool, show: ShowId) -> ApiResult<Bytes> {
    metrics::counter!("usher_seat_map_reads_total").increment(1);
    let map = store::detached(async move { seat_map::read(&pool, show).await }).await;
    let map = map.map_err(database)?.ok_or_else(|| ApiError::not_found(Code::ShowNotFound))?;
    Ok(serde_json::to_vec(&map).map_err(ApiError::internal)?.into())
}
