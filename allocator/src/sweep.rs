//! The sweep: ends lapsed bookings twice a second, which frees their seats.

use std::time::Duration;

use contract::deadline::SEAT_LOCK_UNDECIDED;
use futures_util::{StreamExt as _, stream};
use store::bookings;
use tracing::{info, warn};

use crate::allocator::Allocator;

const EVERY: Duration = Duration::from_millis(500);
/// Partitions that are swept at once.
const AT_ONCE: usize = 4;
/// Rounds between deletions of published events and old numbers: one hour.
const FORGET_EVERY: u32 = 7200;

// A seat must come free within five seconds of its lapse.
const _: () = assert!(EVERY.as_millis() * 4 < 5_000);
const _: () = assert!(EVERY.as_millis() < SEAT_LOCK_UNDECIDED.as_millis());

/// Sweeps until the shutdown begins.
pub(crate) async fn run(allocator: Allocator) {
    let mut round = 0_u32;
    while allocator.shutdown.sleep(EVERY).await {
        if let Err(error) = sweep(&allocator).await {
            warn!("the sweep failed and is tried again: {error:#}");
        }
        round = round.wrapping_add(1);
        if round.is_multiple_of(FORGET_EVERY)
            && let Err(error) = forget(&allocator).await
        {
            warn!("old events and numbers are not deleted yet: {error:#}");
        }
    }
}

async fn forget(allocator: &Allocator) -> anyhow::Result<()> {
    store::outbox::forget_old(&allocator.pool).await?;
    store::acceptance::forget_old(&allocator.pool).await?;
    Ok(())
}

/// Ends lapsed bookings in this allocator's partitions, several at once, so that none waits for
/// another.
async fn sweep(allocator: &Allocator) -> anyhow::Result<()> {
    let due = bookings::partitions_with_due(&allocator.pool).await?;
    let ours = {
        let roster = allocator.roster.borrow();
        due.into_iter().filter(|partition| roster.is_ours(partition)).collect::<Vec<_>>()
    };
    stream::iter(ours)
        .for_each_concurrent(AT_ONCE, async |partition| {
            match bookings::sweep(&allocator.pool, &partition).await {
                Ok(ended) if ended.is_empty() => {}
                Ok(ended) => {
                    metrics::counter!("usher_lapsed_total").increment(ended.len() as u64);
                    info!(%partition, n_bookings = ended.len(), "bookings lapsed");
                    allocator.events.notify_one();
                }
                Err(error) => {
                    warn!(%partition, "not swept this time: {:#}", anyhow::Error::from(error));
                }
            }
        })
        .await;
    Ok(())
}
