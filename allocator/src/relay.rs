//! The relay: publishes committed events, and marks them once the broker has confirmed them. A
//! message of events may go out twice, but is never lost.

use std::{collections::HashMap, time::Duration};

use contract::{message::EventMessage, topology::EVENTS};
use futures_util::future::join_all;
use platform::{
    faults::{Guarantee, failpoint, without},
    number::float,
};
use store::outbox::{self, Unpublished};
use tokio::time::Instant;
use tracing::warn;

use crate::allocator::Allocator;

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
pub(crate) async fn run(allocator: Allocator) {
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
            self.are_published(message);
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

    /// Counts the events of a message, and passes on the seats of bookings that changed after their
    /// decision: their locks may have to change.
    fn are_published(&self, message: &Unpublished) {
        let Ok(events) = EventMessage::decode(&message.body) else { return };
        metrics::counter!("usher_events_published_total").increment(events.len() as u64);
        let Some(show) = events.first().map(|event| event.show_id) else { return };
        let changed = events.into_iter().filter(|event| !event.is_decision());
        self.allocator.compare_locks(show, changed.flat_map(|event| event.seat_ids).collect());
    }
}
