//! The sweep: twice a second, what has lapsed ends, and its seats come free.

use std::time::Duration;

use contract::deadline::SEAT_LOCK_UNDECIDED;
use store::lapse;
use tracing::{info, warn};

use crate::Office;

const EVERY: Duration = Duration::from_millis(500);
/// Published events are forgotten once an hour.
const FORGET_EVERY: u32 = 7200;

// A seat must come free within five seconds of its lapse.
const _: () = assert!(EVERY.as_millis() * 4 < 5_000);
const _: () = assert!(EVERY.as_millis() < SEAT_LOCK_UNDECIDED.as_millis());

/// Sweeps until the shutdown begins.
pub(crate) async fn run(office: Office) {
    let mut round = 0_u32;
    while office.shutdown.sleep(EVERY).await {
        if let Err(error) = sweep(&office).await {
            warn!("the sweep failed and is tried again: {error:#}");
        }
        round = round.wrapping_add(1);
        if round.is_multiple_of(FORGET_EVERY)
            && let Err(error) = store::outbox::forget_old(&office.pool).await
        {
            warn!("old events stay for now: {:#}", anyhow::Error::from(error));
        }
    }
}

async fn sweep(office: &Office) -> anyhow::Result<()> {
    for partition in lapse::partitions_with_due(&office.pool).await? {
        let ended = match lapse::sweep(&office.pool, &partition).await {
            Ok(ended) => ended,
            Err(error) => {
                // The others must not wait for this one.
                warn!(%partition, "not swept this time: {:#}", anyhow::Error::from(error));
                continue;
            }
        };
        if ended.is_empty() {
            continue;
        }
        metrics::counter!("usher_lapsed_total").increment(ended.len() as u64);
        info!(%partition, n_bookings = ended.len(), "bookings lapsed");
        office.events.notify_one();
    }
    Ok(())
}
