//! The relay: publishes committed events, and marks them once the broker has confirmed them. A
//! message of events may go out twice, but is never lost.
//!
//! What a batch commits here goes out at once, from memory. All else comes from the outbox: events of
//! other processes, of lapses, and what could not be published at once.

use std::{collections::HashMap, time::Duration};

use contract::{message::EventMessage, topology::EVENTS};
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use platform::{
    broker::PublishError,
    faults::{Guarantee, failpoint, without},
    number::float,
};
use store::outbox::{self, Unpublished};
use tokio::{sync::mpsc, time::Instant};
use tracing::warn;

use crate::allocator::Allocator;

/// Most batches whose messages wait here to be published at once …
pub(crate) const COMMITTED_MAX: usize = 256;
/// … most messages that are on their way then …
const ON_THEIR_WAY_MAX: usize = 256;
/// … and most that wait for their marks …
const CONFIRMED_MAX: usize = 1024;
/// … for this long, much less than a message is left to its writer.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// Messages taken at once; their rows stay locked until the broker has confirmed.
const TAKEN_MAX: i64 = 128;
/// How often the outbox is read if nothing wakes the relay: other processes commit, too.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const FAILED_WAIT: Duration = Duration::from_millis(500);
/// How long a message that cannot be published, although others can, is left alone, then twice as
/// long …
const STUCK_FOR: Duration = Duration::from_secs(5);
/// … and at most this long.
const STUCK_FOR_MAX: Duration = Duration::from_hours(1);
/// Most messages left alone; further ones are tried as soon as the others.
const STUCK_MAX: usize = 1_000;

/// Relays until the shutdown begins, and once more after it.
pub(crate) async fn run(allocator: Allocator, committed: mpsc::Receiver<Vec<Unpublished>>) {
    let (confirm, confirmed) = mpsc::channel(CONFIRMED_MAX);
    tokio::join!(
        from_outbox(allocator.clone()),
        from_memory(&allocator, committed, confirm),
        mark(&allocator, confirmed),
    );
}

/// Publishes what batches here have just committed. What fails is left to the outbox.
async fn from_memory(
    allocator: &Allocator,
    mut committed: mpsc::Receiver<Vec<Unpublished>>,
    confirm: mpsc::Sender<i64>,
) {
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = allocator.shutdown.begun(), if !committed.is_closed() => committed.close(),
            messages = committed.recv(), if on_their_way.len() < ON_THEIR_WAY_MAX => {
                let Some(messages) = messages else { break };
                failpoint("before-event");
                on_their_way.extend(messages.into_iter().map(|message| publish(allocator, message)));
            }
            Some(published) = on_their_way.next() => confirmed_now(allocator, published, &confirm).await,
        }
    }
    while let Some(published) = on_their_way.next().await {
        confirmed_now(allocator, published, &confirm).await;
    }
}

async fn publish(
    allocator: &Allocator,
    message: Unpublished,
) -> (Unpublished, Result<(), PublishError>) {
    let sent = allocator.publisher.publish(EVENTS, &message.routing_key, &message.body).await;
    (message, sent)
}

/// Has a message marked that went out from memory.
async fn confirmed_now(
    allocator: &Allocator,
    (message, sent): (Unpublished, Result<(), PublishError>),
    confirm: &mpsc::Sender<i64>,
) {
    failpoint("after-event");
    if sent.is_err() && !without(Guarantee::Relay) {
        metrics::counter!("usher_events_left_to_outbox_total").increment(1);
        return;
    }
    are_published(allocator, &message);
    let _ = confirm.send(message.outbox_id).await;
}

/// Marks messages that went out from memory, many at once: nobody waits for it.
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
            warn!("published events are not marked and go out again: {}", error.text());
        }
        some.clear();
    }
}

async fn from_outbox(allocator: Allocator) {
    let mut relay = Relay {
        allocator: allocator.clone(),
        at_once: TAKEN_MAX,
        suspect: None,
        stuck: HashMap::new(),
    };
    let mut last_round = false;
    loop {
        match relay.round().await {
            Ok(true) => continue,
            _ if last_round => return,
            Ok(false) => {}
            Err(error) => {
                warn!("events wait in the outbox: {error:#}");
                tokio::time::sleep(FAILED_WAIT).await;
            }
        }
        tokio::select! {
            () = allocator.events.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = allocator.shutdown.begun() => last_round = true,
        }
    }
}

struct Relay {
    allocator: Allocator,
    /// How many messages are taken at once. One may spoil the channel for all of its lot, so after
    /// a failure they go one by one, then two at once, and so on.
    at_once: i64,
    /// A message that failed alone. The next one shows whether it or the broker is at fault.
    suspect: Option<i64>,
    /// Messages that are at fault: until when they are left alone, and for how long.
    stuck: HashMap<i64, (Instant, Duration)>,
}

impl Relay {
    /// Relays the waiting events, up to the bound. Returns whether more may be waiting.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let now = Instant::now();
        let stuck = self.stuck.iter().filter(|(_, (until, _))| *until > now).map(|(id, _)| *id);
        let but_not: Vec<i64> = stuck.chain(self.suspect).collect();
        // After a crash the marks may be gone, and their messages go out twice.
        let mut tx = self.allocator.pool.begin_async_commit().await?;
        let taken = outbox::take(&mut tx, self.at_once, &but_not).await?;
        if taken.is_empty() {
            self.suspect = None;
            tx.commit().await?;
            return Ok(false);
        }
        failpoint("before-event");
        let publisher = &self.allocator.publisher;
        let publishing = taken.iter().map(|message| async {
            publisher.publish(EVENTS, &message.routing_key, &message.body).await
        });
        let results = join_all(publishing).await;
        failpoint("after-event");
        let (sent, failed): (Vec<_>, Vec<_>) = taken
            .iter()
            .zip(results)
            .partition(|(_, result)| result.is_ok() || without(Guarantee::Relay));
        let confirmed: Vec<i64> = sent.iter().map(|(message, _)| message.outbox_id).collect();
        outbox::mark_published(&mut tx, &confirmed).await?;
        tx.commit().await?;
        for (message, _) in &sent {
            self.stuck.remove(&message.outbox_id);
            are_published(&self.allocator, message);
        }
        let more = i64::try_from(taken.len()) == Ok(self.at_once);
        let Some((message, Err(error))) = failed.into_iter().next() else {
            self.leave_suspect_alone();
            self.at_once = (self.at_once * 2).min(TAKEN_MAX);
            return Ok(more);
        };
        let alone = self.at_once == 1;
        self.suspect = (alone && self.suspect.is_none()).then_some(message.outbox_id);
        self.at_once = 1;
        Err(error.into())
    }

    /// Another message went out, so the suspect is at fault.
    fn leave_suspect_alone(&mut self) {
        let Some(outbox_id) = self.suspect.take().filter(|_| self.stuck.len() < STUCK_MAX) else {
            return;
        };
        let wait = match self.stuck.get(&outbox_id) {
            Some((_, wait)) => (*wait * 2).min(STUCK_FOR_MAX),
            None => STUCK_FOR,
        };
        warn!(outbox_id, "a message of events cannot be published and is left alone for {wait:?}");
        self.stuck.insert(outbox_id, (Instant::now() + wait, wait));
        metrics::gauge!("usher_events_stuck").set(float(self.stuck.len()));
    }
}

/// Counts the events of a message, and passes on the seats of bookings that changed after their
/// decision: their locks may have to change.
fn are_published(allocator: &Allocator, message: &Unpublished) {
    let Ok(events) = EventMessage::decode(&message.body) else { return };
    metrics::counter!("usher_events_published_total").increment(events.len() as u64);
    let Some(show) = events.first().map(|event| event.show_id) else { return };
    let changed = events.into_iter().filter(|event| !event.is_decision());
    allocator.compare_locks(show, changed.flat_map(|event| event.seat_ids).collect());
}
