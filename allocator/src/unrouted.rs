//! Requests that found no queue. They are refused if they were accepted after the closing or their
//! time is over, put by name into the queue of a closed sale, or sent again if their queue will
//! soon be there. They are handled in batches, because a broker that lost its queues leaves seconds
//! of a whole sale here.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use contract::{
    BookingId,
    booking::Reason,
    deadline::BOOKING_DEADLINE,
    message::{BookingRequested, Envelope},
    topology::{Partition, UNROUTED},
};
use futures_util::{StreamExt as _, stream};
use platform::broker::{self, Consumer, Consumption, Delivery, Link};
use store::partitions::{self, SaleStanding};
use tracing::warn;

use crate::{allocator::Allocator, parking, reading};

/// Messages taken at once, of up to 64 bookings each.
const TAKEN_MAX: u16 = 64;
/// Messages handled concurrently.
const AT_ONCE: usize = 16;
/// Time for a keeper to restore a missing queue, once a message came back that was sent there.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Messages sent between two pauses, whether or not one has come back.
const SENT_MAX: usize = 16_384;
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Consumes unrouted messages until the shutdown begins.
pub(crate) async fn run(allocator: Allocator) {
    let mut broker = allocator.consuming.first();
    while !allocator.shutdown.has_begun() {
        let link = tokio::select! {
            () = allocator.shutdown.begun() => return,
            link = broker.link_soon() => match link { Some(link) => link, None => return },
        };
        if let Err(error) = consume(&allocator, link).await {
            warn!("messages without a queue wait: {error:#}");
        }
        if !allocator.shutdown.sleep(RETRY_WAIT).await {
            return;
        }
    }
}

async fn consume(allocator: &Allocator, link: Arc<Link>) -> anyhow::Result<()> {
    broker::declare_base(&link.channel().await?).await?;
    let mut consumer = Consumer::open(link, UNROUTED, TAKEN_MAX).await?;
    let mut sent = HashSet::new();
    loop {
        let first = tokio::select! {
            () = allocator.shutdown.begun() => break,
            first = consumer.next() => match first { Some(first) => first, None => break },
        };
        let mut taken = vec![first];
        while taken.len() < TAKEN_MAX.into()
            && let Some(next) = consumer.next_now()
        {
            taken.push(next);
        }
        let (are_settled, must_wait) = settle(allocator, taken, &mut sent).await;
        if must_wait || sent.len() > SENT_MAX {
            sent.clear();
            if !allocator.shutdown.sleep(SENT_AGAIN_AFTER).await {
                break;
            }
        }
        if !are_settled {
            break;
        }
    }
    consumer.close().await;
    Ok(())
}

/// Handles some messages. `sent` has the first booking of each message sent since the last pause.
/// Returns whether the broker took every ack, and whether the next messages must wait: one came back
/// that had been sent, or could not be handled.
async fn settle(
    allocator: &Allocator,
    taken: Vec<Delivery>,
    sent: &mut HashSet<BookingId>,
) -> (bool, bool) {
    let mut read = Vec::with_capacity(taken.len());
    for delivery in taken {
        metrics::counter!("usher_set_aside_total", "queue" => UNROUTED).increment(1);
        let key = delivery.routing_key.as_str();
        let envelope = reading::read(allocator, key, &delivery.data).await;
        read.push((delivery, envelope));
    }
    let envelopes = read.iter().filter_map(|(_, envelope)| envelope.as_ref().ok()?.as_ref());
    let asked: HashSet<Partition> = envelopes.map(partition).collect();
    let standing =
        partitions::sale_standings(&allocator.pool, &asked.iter().collect::<Vec<_>>()).await;
    if let Err(error) = &standing {
        warn!("the state of the sale cannot be read: {}", error.text());
    }
    let standing = &standing.unwrap_or_default();
    let missed = standing.iter().filter(|(_, standing)| standing.is_open && standing.is_ready);
    let missed: HashSet<Partition> = missed.map(|(partition, _)| partition.clone()).collect();
    if !missed.is_empty() {
        allocator.missed.send_replace(missed);
    }
    let dealt = stream::iter(read).map(async |(delivery, envelope)| {
        let mut first = None;
        let (consumption, is_sent) = match envelope {
            Ok(None) => (Consumption::Ack, false),
            Ok(Some(envelope)) => {
                first = envelope.bookings.first().map(|request| request.booking_id);
                match standing.get(&partition(&envelope)) {
                    Some(standing) => deal_with(allocator, envelope, standing).await,
                    None => (Consumption::Retry, false),
                }
            }
            Err(_) => (Consumption::Retry, false),
        };
        let is_settled = broker::settle(&delivery.acker, consumption).await;
        (is_settled, consumption == Consumption::Ack, first.filter(|_| is_sent))
    });
    let mut all = pin!(dealt.buffer_unordered(AT_ONCE));
    let (mut are_settled, mut must_wait) = (true, false);
    while let Some((is_settled, is_handled, first)) = all.next().await {
        are_settled &= is_settled;
        must_wait |= !is_handled || first.is_some_and(|first| !sent.insert(first));
    }
    (are_settled, must_wait)
}

fn partition(envelope: &Envelope) -> Partition {
    Partition { show: envelope.show_id, tier: envelope.tier.clone() }
}

/// Sends the bookings of a message to their queue, or refuses them. Returns what becomes of the
/// message, and whether something was sent that may come back here.
async fn deal_with(
    allocator: &Allocator,
    envelope: Envelope,
    standing: &SaleStanding,
) -> (Consumption, bool) {
    let partition = partition(&envelope);
    let mut sent = Vec::with_capacity(envelope.bookings.len());
    for request in envelope.bookings {
        let Some(why) = refused(standing, &request) else {
            sent.push(request);
            continue;
        };
        // Repeating the bookings before this one is harmless: each is decided once.
        let refused = parking::refuse(allocator, partition.clone(), &request, why).await;
        if refused != Consumption::Ack {
            return (refused, false);
        }
    }
    let mut may_come_back = false;
    // The numbers of the bookings that are left need not be consecutive.
    for requests in sent.chunk_by(BookingRequested::precedes) {
        // The queue of a closed sale is unbound, but still takes what was accepted in time.
        let is_put = !standing.is_open
            && standing.is_ready
            && put_into_queue(allocator, &partition, requests).await;
        may_come_back |= !is_put;
        if !is_put {
            let sent = parking::resend(&allocator.publisher, &partition, requests.to_vec()).await;
            if sent != Consumption::Ack {
                return (sent, true);
            }
        }
    }
    (Consumption::Ack, may_come_back)
}

/// Why a booking is refused; `None` if it was accepted in time and its time is not over. Its
/// deadline says when it was accepted, by the clock that closed the sale.
fn refused(standing: &SaleStanding, request: &BookingRequested) -> Option<Reason> {
    let accepted_at = request.deadline - BOOKING_DEADLINE;
    if standing.closed_at.is_some_and(|closed_at| accepted_at >= closed_at) {
        return Some(Reason::SaleClosed);
    }
    (request.deadline <= standing.now).then_some(Reason::Expired)
}

async fn put_into_queue(
    allocator: &Allocator,
    partition: &Partition,
    requests: &[BookingRequested],
) -> bool {
    let Some(link) = allocator.publishing.link() else { return false };
    let body = Envelope::new(partition, requests.to_vec()).encode();
    match broker::put_into_queue(&link, partition, &body).await {
        Ok(is_there) => is_there,
        Err(error) => {
            warn!(%partition, "bookings accepted in time are not in their queue yet: {error:#}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::example::request;

    #[test]
    fn only_what_was_accepted_after_the_closing_is_told_that_the_sale_was_closed() {
        let now = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap();
        let closed_at = now - TimeDelta::minutes(10);
        let why = |accepted_at: DateTime<Utc>, closed_at| {
            let standing = SaleStanding { now, is_open: false, is_ready: true, closed_at };
            refused(&standing, &request(accepted_at))
        };
        let second = TimeDelta::seconds(1);
        assert_eq!(why(closed_at - second, Some(closed_at)), None);
        assert_eq!(why(closed_at, Some(closed_at)), Some(Reason::SaleClosed));
        assert_eq!(why(now - BOOKING_DEADLINE + second, Some(closed_at)), None);
        assert_eq!(why(now - BOOKING_DEADLINE, Some(closed_at)), Some(Reason::Expired));
        assert_eq!(why(now, None), None, "it is not closed for all that is known");
    }
}
