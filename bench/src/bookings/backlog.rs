//! What one allocator decides from a full queue, while nothing is sent.

use std::time::Duration;

use anyhow::ensure;
use contract::ShowId;
use platform::number::float;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const DECIDED_WITHIN: Duration = Duration::from_mins(2);

/// Decisions per second, by the times of the bookings: winners from the session's beginning, losers
/// from the last winner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backlog {
    pub(super) winners_per_second: f64,
    pub(super) losers_per_second: f64,
}

impl Backlog {
    /// Waits until so many bookings of the show are decided, and reads when. Half of them must have
    /// won, and be decided before the others.
    pub(super) async fn watch(
        database_url: &str,
        show: ShowId,
        n_bookings: usize,
    ) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(database_url).await?;
        let until = Instant::now() + DECIDED_WITHIN;
        loop {
            let (won, lost): (i64, i64) = sqlx::query_as(
                "select count(*) filter (where status = 'ALLOCATED'),
                     count(*) filter (where status = 'REJECTED')
                 from bookings where show_id = $1",
            )
            .bind(show.0)
            .fetch_one(&mut connection)
            .await?;
            if usize::try_from(won + lost)? == n_bookings {
                ensure!(lost.abs_diff(won) <= 1, "{won} of {n_bookings} bookings won");
                break;
            }
            ensure!(Instant::now() < until, "{} of {n_bookings} are decided", won + lost);
            sleep(LOOK_EVERY).await;
        }
        let (of_winners, of_losers): (f64, f64) = sqlx::query_as(
            "select extract(epoch from greatest('1 ms', last_won - began_at))::float8,
                 extract(epoch from greatest('1 ms', last_lost - last_won))::float8
             from (select max(decided_at) filter (where status = 'ALLOCATED') as last_won,
                       max(decided_at) filter (where status = 'REJECTED') as last_lost
                   from bookings where show_id = $1) as decided
             cross join (select max(began_at) as began_at from partition_sessions
                         where show_id = $1) as session",
        )
        .bind(show.0)
        .fetch_one(&mut connection)
        .await?;
        let n_each = float(n_bookings) / 2.0;
        Ok(Self { winners_per_second: n_each / of_winners, losers_per_second: n_each / of_losers })
    }
}
