//! Publishing what batches of this process have just committed, without reading it from the outbox.
//! What fails here is left to the outbox.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use contract::topology::EVENTS;
use futures_util::future::join_all;
use platform::faults::{Guarantee, failpoint, without};
use store::outbox::{self, Unpublished};
use tokio::sync::mpsc;
use tracing::warn;

use super::published::are_published;
use crate::allocator::Allocator;

/// Most batches whose messages wait to be published. Those of further batches are left to the outbox.
pub(crate) const COMMITTED_MAX: usize = 256;
/// Most rounds whose messages wait for their marks. Those of further rounds are left to the outbox and
/// go out again.
const ROUNDS_MAX: usize = 256;
/// How long messages wait for others that are marked with them; much less than they are left to their
/// writer.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// How long after the beginning of the shutdown batches may end. The broker keeps its connection a
/// little longer.
const LAST_BATCHES: Duration = Duration::from_millis(400);

/// Publishes messages until the shutdown, and marks them. `sent` counts those that went out.
pub(super) async fn publish(
    allocator: &Allocator,
    committed: mpsc::Receiver<Vec<Unpublished>>,
    sent: &AtomicU64,
) {
    let (confirm, confirmed) = mpsc::channel(ROUNDS_MAX);
    tokio::join!(publish_all(allocator, committed, sent, confirm), mark(allocator, confirmed));
}

/// Publishes what has been committed, all of it at once. What comes meanwhile goes out together in the
/// next round, so that everybody on the way is woken once for many.
async fn publish_all(
    allocator: &Allocator,
    mut committed: mpsc::Receiver<Vec<Unpublished>>,
    sent: &AtomicU64,
    confirm: mpsc::Sender<Vec<i64>>,
) {
    let stopping = async {
        allocator.shutdown.begun().await;
        tokio::time::sleep(LAST_BATCHES).await;
    };
    let mut stopping = std::pin::pin!(stopping);
    let mut batches = Vec::new();
    loop {
        tokio::select! {
            () = stopping.as_mut(), if !committed.is_closed() => committed.close(),
            n_batches = committed.recv_many(&mut batches, COMMITTED_MAX) => {
                if n_batches == 0 {
                    return;
                }
            }
        }
        let messages: Vec<Unpublished> = batches.drain(..).flatten().collect();
        failpoint("before-event");
        let publishing = messages.iter().map(|message| {
            allocator.publisher.publish(EVENTS, &message.routing_key, &message.body)
        });
        let results = join_all(publishing).await;
        failpoint("after-event");
        let mut published = Vec::with_capacity(messages.len());
        for (message, result) in messages.iter().zip(results) {
            if result.is_ok() || without(Guarantee::Relay) {
                are_published(allocator, message);
                published.push(message.outbox_id);
            }
        }
        sent.fetch_add(published.len() as u64, Ordering::Relaxed);
        let failed = messages.len() - published.len();
        if published.is_empty() {
            left_to_outbox(failed);
            continue;
        }
        let unmarked =
            confirm.try_send(published).map_or_else(|full| full.into_inner().len(), |()| 0);
        left_to_outbox(failed + unmarked);
    }
}

fn left_to_outbox(n_messages: usize) {
    metrics::counter!("usher_events_left_to_outbox_total").increment(n_messages as u64);
}

/// Marks messages that went out, many at once: nobody waits for it.
async fn mark(allocator: &Allocator, mut confirmed: mpsc::Receiver<Vec<i64>>) {
    while let Some(mut some) = confirmed.recv().await {
        tokio::time::sleep(MARK_AFTER).await;
        while let Ok(more) = confirmed.try_recv() {
            some.extend(more);
        }
        let marking = async {
            // After a crash the marks may be gone, and their messages go out twice.
            let mut tx = allocator.pool.begin_async_commit().await?;
            outbox::mark_published(&mut tx, &some).await?;
            tx.commit().await.map_err(store::StoreError::from)
        };
        if let Err(error) = marking.await {
            left_to_outbox(some.len());
            warn!("published events are not marked and go out again: {}", error.text());
        }
    }
}
