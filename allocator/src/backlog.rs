//! How far behind our queues are, written down every second: visitors are let in by it. While
//! nothing is written, nobody serves the queues, and nobody is let in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use contract::{
    deadline::BOOKING_DEADLINE,
    message::{BookingRequested, ENVELOPE_BOOKINGS_MAX},
    topology::Partition,
};
use platform::broker::{self, Link};
use store::backlogs::{self, Seen};
use tokio::time::Instant;

use crate::Office;

/// What a session is deciding. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Mutex<Hand>>);

#[derive(Default)]
struct Hand {
    /// How many, and when the oldest was accepted.
    batch: Option<(usize, DateTime<Utc>)>,
    /// The last time it was known that nothing waits, or that something was decided.
    moved_at: Option<Instant>,
    /// Bookings per message, an average that forgets.
    per_message: f64,
}

impl InHand {
    /// Notes which bookings, of so many messages, are being decided.
    pub(crate) fn takes(&self, requests: &[BookingRequested], messages: usize) {
        let mut hand = self.hand();
        let mean = float(requests.len()) / float(messages.max(1));
        hand.per_message += 0.2 * (mean - hand.per_message);
        // One that came back from the parking queue says nothing about this one.
        let fresh = requests.iter().filter(|request| request.attempt == 0);
        let oldest = fresh.map(|request| request.deadline - BOOKING_DEADLINE).min();
        hand.batch = oldest.map(|oldest| (requests.len(), oldest));
    }

    /// Notes that they are decided.
    pub(crate) fn is_empty_again(&self, now: Instant) {
        let mut hand = self.hand();
        hand.batch = None;
        hand.moved_at = Some(now);
    }

    fn seen(&self, partition: &Partition, ready: u32, now: Instant) -> Seen {
        let mut hand = self.hand();
        if ready == 0 && hand.batch.is_none() {
            hand.moved_at = Some(now);
        }
        let (n_batch, oldest_at) = hand.batch.map_or((0, None), |(n, at)| (n, Some(at)));
        let moved_at = *hand.moved_at.get_or_insert(now);
        let waiting = f64::from(ready) * hand.per_message.clamp(1.0, float(ENVELOPE_BOOKINGS_MAX));
        Seen {
            partition: partition.clone(),
            undecided: whole(waiting + float(n_batch)),
            oldest_at,
            idle_for: (ready > 0).then(|| now - moved_at),
        }
    }

    fn hand(&self) -> std::sync::MutexGuard<'_, Hand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the queues of our partitions and writes down how far each is behind.
pub(crate) async fn record<'a>(
    office: &Office,
    link: &Link,
    ours: impl Iterator<Item = (&'a Partition, &'a InHand)>,
) -> anyhow::Result<()> {
    let ours: HashMap<&Partition, &InHand> = ours.collect();
    // A broker that takes no bookings is as good as none.
    if ours.is_empty() || office.publishing.check().is_err() {
        return Ok(());
    }
    let channel = link.channel().await?;
    let mut seen = Vec::with_capacity(ours.len());
    for (partition, in_hand) in ours {
        if let Some((ready, _)) = broker::look_at(&channel, partition).await? {
            let one = in_hand.seen(partition, ready, Instant::now());
            metrics::gauge!("usher_bookings_undecided", "show" => partition.show.to_string(),
                "tier" => partition.tier.to_string())
            .set(f64::from(one.undecided));
            seen.push(one);
        }
    }
    let _ = channel.close(200, "done".into()).await;
    Ok(backlogs::record(&office.pool, &seen).await?)
}

#[expect(clippy::cast_precision_loss, reason = "a batch has some hundred bookings")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a queue is bounded far below this, and never negative"
)]
fn whole(count: f64) -> u32 {
    count.min(1e9) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contract::ShowId;

    use super::*;

    #[test]
    fn a_queue_that_nobody_decides_from_ages() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let (in_hand, start) = (InHand::default(), Instant::now());
        let later = start + Duration::from_secs(3);
        assert_eq!(in_hand.seen(&partition, 0, start).idle_for, None);
        let seen = in_hand.seen(&partition, 7, later);
        assert_eq!(seen.idle_for, Some(Duration::from_secs(3)));
        assert_eq!((seen.undecided, seen.oldest_at), (7, None));
        in_hand.is_empty_again(later);
        assert_eq!(in_hand.seen(&partition, 7, later).idle_for, Some(Duration::ZERO));
    }
}
