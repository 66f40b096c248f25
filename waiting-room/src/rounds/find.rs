//! Finding lines that others have opened, and how far the queues of this node's lines are behind.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::room::Room;

/// How often a node looks how far the queues of its lines are behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks for lines that somebody is in and that it does not tend.
const FIND_EVERY: Duration = Duration::from_secs(2);

/// Follows how far the queues of its lines are behind, and finds lines that others have opened: a
/// visitor whose node dies is not forgotten. Lines that nobody is in cost one word in a pipeline.
pub(super) async fn find_lines(room: Arc<Room>) {
    let mut find_at = Instant::now();
    while room.shutdown.sleep(LOOK_EVERY).await {
        if Instant::now() >= find_at {
            find_at = Instant::now() + FIND_EVERY;
            if let Err(error) = room.find_peopled().await {
                debug!("lines cannot be looked for: {:#}", anyhow::Error::from(error));
            }
        }
        let shows: Vec<_> = room.lines().iter().map(|line| line.show).collect();
        if shows.is_empty() {
            continue;
        }
        match store::backlogs::of_lines(&room.pool, &shows).await {
            Ok(backlogs) => {
                for line in room.lines() {
                    if let Some(backlog) = backlogs.get(&line.show) {
                        line.follow_backlog(backlog);
                    }
                }
            }
            Err(error) => {
                metrics::counter!("usher_backlogs_unread_total").increment(1);
                room.lines().iter().for_each(|line| line.measure_pace());
                warn!("backlogs cannot be read: {:#}", anyhow::Error::from(error));
            }
        }
    }
}
