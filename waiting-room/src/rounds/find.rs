//! Finding lines that other nodes have opened, and reading the backlogs of this node's lines.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::room::WaitingRoom;

/// How often a node reads the backlogs of its lines.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a node looks for lines with visitors that it does not tend.
const FIND_EVERY: Duration = Duration::from_secs(2);

/// Follows the backlogs of the lines, and finds lines that other nodes have opened, so that
/// visitors whose node dies are still admitted. An empty line costs one command in a pipeline.
pub(super) async fn find_lines(room: Arc<WaitingRoom>) {
    let mut find_at = Instant::now();
    while room.shutdown.sleep(LOOK_EVERY).await {
        if Instant::now() >= find_at {
            find_at = Instant::now() + FIND_EVERY;
            if let Err(error) = room.find_peopled().await {
                debug!("looking for lines failed: {:#}", anyhow::Error::from(error));
            }
        }
        let shows: Vec<_> = room.lines().iter().map(|line| line.show).collect();
        if shows.is_empty() {
            continue;
        }
        match store::backlogs::of_lines(&room.rounds, &shows).await {
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
                warn!("reading the backlogs failed: {:#}", anyhow::Error::from(error));
            }
        }
    }
}
