//! The board: every show that is or may go on sale, as of a moment ago. Each node reads it a few
//! times a second, so that requests need no query.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{ShowId, api::problem::Code, deadline::STORE_SILENCE_MAX};
use platform::{Shutdown, http::ApiError, number::float};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{
    Pool, StoreResult,
    catalogue::shows::{self, ShowsFound},
    sale::Sale,
};

/// How often a node reads what has changed on the board.
pub const REFRESH: Duration = Duration::from_millis(250);
/// After this many readings a node reads the whole board, which drops shows that are long over.
const WHOLE_EVERY: u32 = 240;
/// Most shows on the board; the soonest to start win.
pub const SHOWS_MAX: u32 = 10_000;

/// Every show, as of a moment ago.
#[derive(Clone, Debug)]
pub struct Board {
    sales: HashMap<ShowId, Arc<Sale>>,
    unreadable: HashSet<ShowId>,
    /// Every transaction before this one had ended when the board was read.
    complete_before: String,
    read_at: DateTime<Utc>,
    read: Instant,
}

impl Board {
    /// The show, if it is on the board.
    #[must_use]
    pub fn sale(&self, show: ShowId) -> Option<Arc<Sale>> {
        self.sales.get(&show).cloned()
    }

    /// Whether the show exists but has words that this version does not know.
    #[must_use]
    pub fn is_unreadable(&self, show: ShowId) -> bool {
        self.unreadable.contains(&show)
    }

    /// The answer about a show that has no sale on the board: a newer version wrote it, or there is
    /// none.
    #[must_use]
    pub fn no_sale(&self, show: ShowId) -> ApiError {
        if self.is_unreadable(show) {
            let why = "another node may know this show; try again";
            return ApiError::unavailable(Code::ShowNotReadable, why, 1);
        }
        ApiError::not_found(Code::ShowNotFound)
    }

    /// Every show on the board.
    pub fn sales(&self) -> impl Iterator<Item = &Arc<Sale>> {
        self.sales.values()
    }

    /// Postgres's clock now, as well as it is known here.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.read_at + self.read.elapsed()
    }

    /// How old the board is.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.read.elapsed()
    }

    /// Whether Postgres answers; the error says for how long it has not.
    pub fn check(&self) -> Result<(), String> {
        let age = self.age();
        let is_fresh = age <= STORE_SILENCE_MAX;
        is_fresh.then_some(()).ok_or_else(|| format!("has not answered for {} s", age.as_secs()))
    }
}

/// Reads the board once, then keeps it fresh until the shutdown begins. While the database is
/// away the last board stays, and ages.
pub async fn watch(pool: Pool, shutdown: &Shutdown) -> StoreResult<watch::Receiver<Arc<Board>>> {
    let mut known = HashSet::new();
    let first = read(&pool).await?;
    tell_unreadable(&first, &mut known);
    let (set, board) = watch::channel(Arc::new(first));
    let stop = shutdown.clone();
    shutdown.spawn_vital("board", async move {
        let mut round = 0_u32;
        while stop.sleep(REFRESH).await {
            round = round.wrapping_add(1);
            let last = Arc::clone(&set.borrow());
            let board = if round.is_multiple_of(WHOLE_EVERY) {
                read(&pool).await
            } else {
                read_changes(&pool, &last).await
            };
            match board {
                Ok(board) => {
                    tell_unreadable(&board, &mut known);
                    set.send_replace(Arc::new(board));
                }
                Err(error) => {
                    metrics::counter!("usher_board_read_failed_total").increment(1);
                    warn!("the board cannot be read: {:#}", anyhow::Error::from(error));
                    stop.sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(board)
}

/// Counts the shows that cannot be read, and logs each once.
fn tell_unreadable(board: &Board, known: &mut HashSet<ShowId>) {
    metrics::gauge!("usher_shows_unreadable").set(float(board.unreadable.len()));
    for show in board.unreadable.difference(known) {
        warn!(%show, "a show is left out because it has words of a newer version");
    }
    known.clone_from(&board.unreadable);
}

/// Reads the board. A show with words that this version does not know is only named as unreadable.
pub async fn read(pool: &Pool) -> StoreResult<Board> {
    let row = sqlx::query!(
        r#"select clock_timestamp() as "now!",
               pg_snapshot_xmin(pg_current_snapshot())::text as "complete_before!",
               array(select show_id from shows
                     where retired_at is null
                       and starts_at > clock_timestamp() - interval '1 day'
                     order by starts_at, show_id limit $1) as "shows!""#,
        i64::from(SHOWS_MAX)
    )
    .fetch_one(pool)
    .await?;
    // The clock was read a little before this moment, so `now` is late by less than the query took.
    let read = Instant::now();
    let ShowsFound { sales, unreadable } = shows::read(pool, &row.shows).await?;
    let sales = sales.into_iter().map(|sale| (sale.show, Arc::new(sale))).collect();
    let unreadable = unreadable.into_iter().map(|(show, _)| show).collect();
    let complete_before = row.complete_before;
    Ok(Board { sales, unreadable, complete_before, read_at: row.now, read })
}

/// Reads what has changed on the board since `last`: the rows that were written by transactions
/// that had not ended then. Other shows are copied from `last`, except those with held seats and no
/// free one.
pub async fn read_changes(pool: &Pool, last: &Board) -> StoreResult<Board> {
    // Compared by age, because transaction numbers wrap around. A frozen row may look young; it is
    // then read once more, which does no harm.
    let row = sqlx::query!(
        r#"select clock_timestamp() as "now!",
               pg_snapshot_xmin(pg_current_snapshot())::text as "complete_before!",
               array(select s.show_id from shows s
                     where s.starts_at > clock_timestamp() - interval '1 day'
                       and (age(s.xmin) <= age($1::text::xid8::xid)
                           or exists (select from partitions p where p.show_id = s.show_id
                               and age(p.xmin) <= age($1::text::xid8::xid)))
                     order by s.starts_at, s.show_id limit $2) as "shows!""#,
        last.complete_before,
        i64::from(SHOWS_MAX)
    )
    .fetch_one(pool)
    .await?;
    let read = Instant::now();
    // A payment changes no row of these tables, so shows with held seats are read each time.
    let held = last.sales.values().filter(|sale| sale.is_any_held()).map(|sale| sale.show.0);
    let shows: HashSet<_> = row.shows.into_iter().chain(held).collect();
    let (mut sales, mut unreadable) = (last.sales.clone(), last.unreadable.clone());
    if !shows.is_empty() {
        metrics::counter!("usher_board_shows_read_total").increment(shows.len() as u64);
        let shows: Vec<_> = shows.into_iter().collect();
        let found = shows::read(pool, &shows).await?;
        for show in shows.into_iter().map(ShowId) {
            sales.remove(&show);
            unreadable.remove(&show);
        }
        sales.extend(found.sales.into_iter().map(|sale| (sale.show, Arc::new(sale))));
        unreadable.extend(found.unreadable.into_iter().map(|(show, _)| show));
        if sales.len() > SHOWS_MAX as usize {
            return self::read(pool).await; // the soonest shows are not known here
        }
    }
    let complete_before = row.complete_before;
    Ok(Board { sales, unreadable, complete_before, read_at: row.now, read })
}
