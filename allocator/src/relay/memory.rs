//! Publishing what batches of this process have just committed, without reading it from the outbox.
//! What fails here is left to the outbox.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use contract::topology::EVENTS;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use platform::{
    broker::PublishError,
    faults::{Guarantee, failpoint, without},
};
use store::outbox::{self, Unpublished};
use tokio::sync::mpsc;
use tracing::warn;

use super::published::are_published;
use crate::allocator::Allocator;

/// Most batches whose messages wait to be published. Those of further batches are left to the outbox.
pub(crate) const COMMITTED_MAX: usize = 64;
/// While so many messages are on their way, no further batch is begun.
const ON_THEIR_WAY_MAX: usize = 256;
/// Most messages that wait for their marks. Further ones are left to the outbox and go out again.
const CONFIRMED_MAX: usize = 1024;
/// How long a message waits for others that are marked with it; much less than it is left to its writer.
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
    let (confirm, confirmed) = mpsc::channel(CONFIRMED_MAX);
    tokio::join!(publish_all(allocator, committed, sent, confirm), mark(allocator, confirmed));
}

async fn publish_all(
    allocator: &Allocator,
    mut committed: mpsc::Receiver<Vec<Unpublished>>,
    sent: &AtomicU64,
    confirm: mpsc::Sender<i64>,
) {
    let stopping = async {
        allocator.shutdown.begun().await;
        tokio::time::sleep(LAST_BATCHES).await;
    };
    let mut stopping = std::pin::pin!(stopping);
    let mut on_their_way = FuturesUnordered::new();
    let confirmed = |(message, result): (Unpublished, Result<(), PublishError>)| {
        failpoint("after-event");
        if result.is_err() && !without(Guarantee::Relay) {
            left_to_outbox();
            return;
        }
        sent.fetch_add(1, Ordering::Relaxed);
        are_published(allocator, &message);
        if confirm.try_send(message.outbox_id).is_err() {
            left_to_outbox();
        }
    };
    loop {
        tokio::select! {
            () = stopping.as_mut(), if !committed.is_closed() => committed.close(),
            messages = committed.recv(), if on_their_way.len() < ON_THEIR_WAY_MAX => {
                let Some(messages) = messages else { break };
                failpoint("before-event");
                on_their_way.extend(messages.into_iter().map(|one| send(allocator, one)));
            }
            Some(published) = on_their_way.next() => confirmed(published),
        }
    }
    while let Some(published) = on_their_way.next().await {
        confirmed(published);
    }
}

async fn send(
    allocator: &Allocator,
    message: Unpublished,
) -> (Unpublished, Result<(), PublishError>) {
    let result = allocator.publisher.publish(EVENTS, &message.routing_key, &message.body).await;
    (message, result)
}

fn left_to_outbox() {
    metrics::counter!("usher_events_left_to_outbox_total").increment(1);
}

/// Marks messages that went out, many at once: nobody waits for it.
async fn mark(allocator: &Allocator, mut confirmed: mpsc::Receiver<i64>) {
    let mut some = Vec::with_capacity(CONFIRMED_MAX);
    while let Some(first) = confirmed.recv().await {
        tokio::time::sleep(MARK_AFTER).await;
        some.push(first);
        some.extend(std::iter::from_fn(|| confirmed.try_recv().ok()));
        let marking = async {
            // After a crash the marks may be gone, and their messages go out twice.
            let mut tx = allocator.pool.begin_async_commit().await?;
            outbox::mark_published(&mut tx, &some).await?;
            tx.commit().await.map_err(store::StoreError::from)
        };
        if let Err(error) = marking.await {
            metrics::counter!("usher_events_left_to_outbox_total").increment(some.len() as u64);
            warn!("published events are not marked and go out again: {}", error.text());
        }
        some.clear();
    }
}
