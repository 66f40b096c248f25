//! What found no queue: refused where its sale is over or its time is, and sent again where its
//! queue is about to be there. In batches, as a broker that lost its queues leaves seconds of a
//! whole sale here.

use std::{collections::HashSet, sync::Arc, time::Duration};

use contract::{
    booking::Reason,
    message::{BookingRequested, Envelope},
    topology::{Partition, UNROUTED},
};
use futures_util::{StreamExt as _, stream};
use platform::broker::{self, Consumption, Delivery, Link, Session};
use store::partitions::{self, Taking};
use tracing::warn;

use crate::{Office, parking, poison};

/// Messages taken at once, of up to 64 bookings each.
const TAKEN_MAX: u16 = 64;
/// Messages that are dealt with at once.
const AT_ONCE: usize = 16;
/// Whoever keeps a queue that is missing has this long to mend that before the next are sent there.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(500);
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Consumes what no queue was bound for until the shutdown begins.
pub(crate) async fn run(office: Office) {
    let mut broker = office.consuming.first();
    while !office.shutdown.has_begun() {
        let link = tokio::select! {
            () = office.shutdown.begun() => return,
            link = broker.link_soon() => match link { Some(link) => link, None => return },
        };
        if let Err(error) = consume(&office, link).await {
            warn!("what found no queue waits: {error:#}");
        }
        if !office.shutdown.sleep(RETRY_WAIT).await {
            return;
        }
    }
}

async fn consume(office: &Office, link: Arc<Link>) -> anyhow::Result<()> {
    broker::declare_base(&link.channel().await?).await?;
    let mut session = Session::open(link, UNROUTED, TAKEN_MAX).await?;
    loop {
        let first = tokio::select! {
            () = office.shutdown.begun() => break,
            first = session.next() => match first { Some(first) => first, None => break },
        };
        let mut taken = vec![first];
        while taken.len() < TAKEN_MAX.into()
            && let Some(next) = session.next_now()
        {
            taken.push(next);
        }
        let (are_settled, is_any_sent) = settle(office, taken).await;
        if !are_settled || (is_any_sent && !office.shutdown.sleep(SENT_AGAIN_AFTER).await) {
            break;
        }
    }
    session.close().await;
    Ok(())
}

/// Deals with some messages. Returns whether the broker was told what became of them, and whether
/// some were sent to their queue again.
async fn settle(office: &Office, taken: Vec<Delivery>) -> (bool, bool) {
    let mut read = Vec::with_capacity(taken.len());
    for delivery in taken {
        metrics::counter!("usher_set_aside_total", "queue" => UNROUTED).increment(1);
        let key = delivery.routing_key.as_str();
        let envelope = poison::readable(office, key, &delivery.data).await;
        read.push((delivery, envelope));
    }
    let envelopes = read.iter().filter_map(|(_, envelope)| envelope.as_ref().ok()?.as_ref());
    let asked: HashSet<Partition> = envelopes.map(partition).collect();
    let taking = partitions::taking(&office.pool, &asked.iter().collect::<Vec<_>>()).await;
    if let Err(error) = &taking {
        warn!("cannot tell whether a sale is open: {error}");
    }
    let taking = &taking.ok();
    if let Some(taking) = taking.as_ref().filter(|taking| !taking.partitions.is_empty()) {
        office.missed.send_replace(taking.partitions.clone());
    }
    let dealt = stream::iter(read).map(async |(delivery, envelope)| {
        let (consumption, is_sent) = match (envelope, taking) {
            (Ok(None), _) => (Consumption::Ack, false),
            (Ok(Some(envelope)), Some(taking)) => deal_with(office, envelope, taking).await,
            _ => (Consumption::Retry, false),
        };
        let is_settled = broker::settle(&delivery.acker, consumption).await;
        let is_retried = consumption != Consumption::Ack;
        (is_settled, is_sent || is_retried)
    });
    let all = dealt.buffer_unordered(AT_ONCE);
    all.fold((true, false), async |all, one| (all.0 && one.0, all.1 || one.1)).await
}

fn partition(envelope: &Envelope) -> Partition {
    Partition { show: envelope.show_id, tier: envelope.tier.clone() }
}

/// Sends the bookings of a message to their queue, or refuses them. Returns what becomes of the
/// message, and whether something was sent.
async fn deal_with(office: &Office, envelope: Envelope, taking: &Taking) -> (Consumption, bool) {
    let partition = partition(&envelope);
    let is_taken = taking.partitions.contains(&partition);
    let (in_time, late): (Vec<_>, Vec<_>) =
        envelope.bookings.into_iter().partition(|booking| booking.deadline > taking.now);
    let (sent, refused, why) = if is_taken {
        (in_time, late, Reason::Expired)
    } else {
        (Vec::new(), in_time.into_iter().chain(late).collect(), Reason::SaleClosed)
    };
    for request in &refused {
        // Repeating those before it is harmless: each is decided once.
        let refused = parking::refuse(office, partition.clone(), request, why).await;
        if refused != Consumption::Ack {
            return (refused, false);
        }
    }
    if sent.is_empty() {
        return (Consumption::Ack, false);
    }
    let consumption = if refused.is_empty() {
        parking::again(&office.publisher, &partition, sent).await
    } else {
        one_by_one(office, &partition, sent).await
    };
    (consumption, true)
}

/// The numbers of these need not follow each other.
async fn one_by_one(
    office: &Office,
    partition: &Partition,
    sent: Vec<BookingRequested>,
) -> Consumption {
    for request in sent {
        let sent = parking::again(&office.publisher, partition, vec![request]).await;
        if sent != Consumption::Ack {
            return sent;
        }
    }
    Consumption::Ack
}
