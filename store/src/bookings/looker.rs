//! Looks up bookings, many in one query: look-ups that come during a query share the next one, so
//! that thousands of waiting clients cost the database only a few queries.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use contract::BookingId;
use platform::{Shutdown, number::float};
use tokio::sync::{Semaphore, oneshot};

use super::{View, view_many};
use crate::{Pool, StoreError, StoreResult};

/// Bookings in one query.
const BATCH_MAX: usize = 256;
/// Queries on their way at once; each has a connection of the pool.
const QUERIES_MAX: usize = 2;
/// Most look-ups that wait here; further ones fail as if the database were too busy.
const WAITING_MAX: usize = 65_536;

/// What a look-up found.
#[derive(Clone, Debug)]
pub struct Look {
    /// The booking, if it is decided.
    pub view: Option<View>,
    /// PostgreSQL's clock at the look-up.
    pub now: DateTime<Utc>,
}

type Answer = oneshot::Sender<StoreResult<Look>>;

/// Looks up bookings for all callers on this node. Cheap to clone.
#[derive(Clone)]
pub struct Looker(Arc<Shared>);

struct Shared {
    pool: Pool,
    shutdown: Shutdown,
    waiting: Mutex<Vec<(BookingId, Answer)>>,
    queries: Semaphore,
}

impl Looker {
    /// A looker on this database.
    #[must_use]
    pub fn new(pool: Pool, shutdown: Shutdown) -> Self {
        let queries = Semaphore::new(QUERIES_MAX);
        Self(Arc::new(Shared { pool, shutdown, waiting: Mutex::default(), queries }))
    }

    /// The booking as it stands after this call began.
    pub async fn look(&self, booking: BookingId) -> StoreResult<Look> {
        let (answer, told) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= WAITING_MAX {
                metrics::counter!("usher_looks_refused_total").increment(1);
                return Err(too_busy());
            }
            waiting.push((booking, answer));
        }
        // If no query is free, the task that frees one finds this look-up waiting.
        if self.0.queries.available_permits() > 0 {
            let this = self.clone();
            self.0.shutdown.spawn(async move { this.answer_all().await });
        }
        told.await.unwrap_or_else(|_| Err(too_busy()))
    }

    async fn answer_all(&self) {
        loop {
            let Ok(query) = self.0.queries.try_acquire() else { return };
            loop {
                let batch = self.batch();
                if batch.is_empty() {
                    break;
                }
                self.answer(batch).await;
            }
            drop(query);
            // A look-up that came after the last batch may have found no query free.
            if self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
        }
    }

    /// The look-ups that the next query answers, by booking: the oldest come first.
    fn batch(&self) -> HashMap<BookingId, Vec<Answer>> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch: HashMap<BookingId, Vec<Answer>> = HashMap::new();
        let n = waiting
            .iter()
            .scan(std::collections::HashSet::new(), |ids, (booking, _)| {
                ids.insert(*booking);
                (ids.len() <= BATCH_MAX).then_some(())
            })
            .count();
        for (booking, answer) in waiting.drain(..n) {
            batch.entry(booking).or_default().push(answer);
        }
        batch
    }

    async fn answer(&self, batch: HashMap<BookingId, Vec<Answer>>) {
        let ids: Vec<BookingId> = batch.keys().copied().collect();
        metrics::histogram!("usher_look_bookings").record(float(ids.len()));
        let views = view_many(&self.0.pool, &ids).await;
        for (booking, answers) in batch {
            let found = match &views {
                Ok(views) => match views.by_id.get(&booking) {
                    Some(Ok(view)) => Ok(Look { view: Some(view.clone()), now: views.now }),
                    Some(Err(error)) => Err(error),
                    None => Ok(Look { view: None, now: views.now }),
                },
                Err(error) => Err(error),
            };
            for answer in answers {
                // A caller that went away gets no answer.
                let _ = answer.send(found.clone().map_err(StoreError::again));
            }
        }
    }
}

fn too_busy() -> StoreError {
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}
