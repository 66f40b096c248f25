//! What one allocator decides from a full queue, while nothing is sent.

use std::time::Duration;

use anyhow::{bail, ensure};
use contract::ShowId;
use platform::number::float;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const DECIDED_WITHIN: Duration = Duration::from_mins(2);

/// Decisions per second, by the times of the bookings.
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
            let groups: Vec<(bool, i64, f64)> = sqlx::query_as(
                "select status = 'ALLOCATED', count(*),
                     extract(epoch from max(decided_at) - min(decided_at))::float8
                 from bookings where show_id = $1 group by 1 order by 1",
            )
            .bind(show.0)
            .fetch_all(&mut connection)
            .await?;
            let n_decided: i64 = groups.iter().map(|(_, n, _)| n).sum();
            if usize::try_from(n_decided)? == n_bookings {
                let [(false, lost, of_losers), (true, won, of_winners)] = groups[..] else {
                    bail!("not every second booking of the full queue won: {groups:?}")
                };
                ensure!(lost.abs_diff(won) <= 1, "{won} of {n_bookings} bookings won");
                let n_each = float(n_bookings) / 2.0;
                return Ok(Self {
                    winners_per_second: n_each / of_winners,
                    losers_per_second: n_each / of_losers,
                });
            }
            ensure!(Instant::now() < until, "{n_decided} of {n_bookings} bookings are decided");
            sleep(LOOK_EVERY).await;
        }
    }
}
