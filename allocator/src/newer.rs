//! Requests with words of a newer version, which this version cannot judge. They wait in the
//! database. Every allocator looks there for requests that it can read, and puts them back into
//! their queue. After its deadline no version may allocate a booking, so it ends EXPIRED.

use std::time::Duration;

use contract::{
    booking::Reason,
    message::{BadEnvelope, Envelope},
    topology::REQUESTS,
};
use platform::number::float;
use store::{
    StoreError, StoreResult,
    waiting::{self, WAITING_MAX, WaitingMessage},
};
use tracing::warn;

use crate::{allocator::Allocator, made_out::refuse_made_out};

/// How often waiting messages are checked. A rolling upgrade takes minutes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Messages per transaction, each of which may be published in it.
const AT_ONCE: i64 = 16;

/// Sets parts of a message aside until an allocator can read them. Fails if too many messages wait:
/// the message then stays in its queue, and its partition waits.
pub(crate) async fn set_aside(
    allocator: &Allocator,
    routing_key: &str,
    parts: &[Vec<u8>],
    what: &str,
) -> StoreResult<()> {
    // All parts or none: the message comes again, and would leave some parts behind each time.
    let mut tx = allocator.pool.begin().await?;
    for body in parts {
        let deadline = Envelope::latest_deadline(body);
        if !waiting::set_aside(&mut tx, routing_key, body, what, deadline).await? {
            let why = format!("{WAITING_MAX} messages already wait for a newer version");
            return Err(StoreError::Unreadable(why));
        }
    }
    tx.commit().await?;
    warn!(routing_key, "a message waits for a newer version: the {what} is not known");
    metrics::counter!("usher_set_aside_for_newer_total").increment(1);
    Ok(())
}

/// Looks after the waiting messages until the shutdown begins.
pub(crate) async fn run(allocator: Allocator) {
    while allocator.shutdown.sleep(LOOK_EVERY).await {
        if let Err(error) = look(&allocator).await {
            warn!("messages that wait for a newer version cannot be read: {}", error.text());
        }
    }
}

async fn look(allocator: &Allocator) -> StoreResult<()> {
    let n = waiting::count(&allocator.pool).await?;
    metrics::gauge!("usher_waiting_for_newer").set(float(n));
    let mut after = 0;
    while n > 0 && !allocator.shutdown.has_begun() {
        let mut tx = allocator.pool.begin().await?;
        let messages = waiting::locked(&mut tx, after, AT_ONCE).await?;
        let Some(last) = messages.last() else { break };
        after = last.id;
        let mut gone = Vec::new();
        for message in &messages {
            if goes_on(allocator, message).await? {
                gone.push(message.id);
            }
        }
        waiting::forget(&mut tx, &gone).await?;
        // If this fails, published messages come twice and are decided once.
        tx.commit().await?;
    }
    Ok(())
}

/// Whether the message need no longer wait.
async fn goes_on(
    allocator: &Allocator,
    WaitingMessage { routing_key, body, is_late, .. }: &WaitingMessage,
) -> StoreResult<bool> {
    if !matches!(Envelope::decode(body), Err(BadEnvelope::Newer(_))) {
        return Ok(allocator.publisher.publish(REQUESTS, routing_key, body).await.is_ok());
    }
    if *is_late {
        refuse_made_out(allocator, routing_key, body, Reason::Expired).await?;
    }
    Ok(*is_late)
}
