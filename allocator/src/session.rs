//! A session: one consumer of one partition's queue, from its first delivery to the loss of its
//! connection or of the partition.

use std::{sync::Arc, time::Duration};

use contract::{
    message::{BookingRequested, Envelope},
    topology::Partition,
};
use platform::broker::{Delivery, Link, Session, ack_all};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Office,
    batch::{Failure, Ledger, failure},
    poison,
};

/// Envelopes in hand and not acked; each carries up to 64 bookings.
const PREFETCH: u16 = 64;
/// How often a batch is run again at once before the database is given a rest.
const RETRIES_MAX: u32 = 5;
const RETRY_WAIT: Duration = Duration::from_millis(200);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Consumes a partition until `stop`, across lost connections.
pub(crate) async fn run(office: Office, partition: Partition, stop: CancellationToken) {
    let mut broker = office.consuming.clone();
    while !stop.is_cancelled() {
        let link = tokio::select! {
            () = stop.cancelled() => break,
            link = broker.link_soon() => match link { Some(link) => link, None => break },
        };
        if let Err(error) = one(&office, &partition, link, &stop).await {
            warn!(%partition, "a session ended: {error:#}");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(RETRY_WAIT) => {}
        }
    }
}

async fn one(
    office: &Office,
    partition: &Partition,
    link: Arc<Link>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut session = Session::open(link, &partition.queue(), PREFETCH).await?;
    let first = tokio::select! {
        () = stop.cancelled() => None,
        first = session.next() => first,
    };
    // The epoch is taken on the first delivery, not before: until then another consumer may be
    // the active one. And only by a session that is alive: a frozen one that wakes up holds
    // deliveries that were given to somebody else long ago.
    let Some(first) = first.filter(|_| session.is_live()) else {
        session.close().await;
        return Ok(());
    };
    let owner = format!("{}", std::process::id());
    let epoch = store::partitions::begin_session(&office.pool, partition, &owner).await?;
    let mut ledger = Ledger::open(office, partition.clone(), epoch).await?;
    info!(%partition, epoch, "a session begins");
    let mut next = Some(first);
    while let Some(delivery) = next {
        let gathered = gather(office, &mut session, delivery).await;
        if !work(office, &mut ledger, &session, gathered).await {
            break;
        }
        next = tokio::select! {
            () = stop.cancelled() => None,
            next = session.next() => next,
        };
    }
    session.close().await;
    Ok(())
}

/// Deliveries of one batch: all acked together, by the last.
struct Gathered {
    requests: Vec<BookingRequested>,
    last: Delivery,
}

/// Takes what is already here, up to the bound; waits for nothing.
async fn gather(office: &Office, session: &mut Session, first: Delivery) -> Gathered {
    let mut gathered = Gathered { requests: Vec::new(), last: first };
    loop {
        match Envelope::decode(&gathered.last.data) {
            Ok(envelope) => gathered.requests.extend(envelope.bookings),
            Err(error) => {
                let (key, body) = (gathered.last.routing_key.as_str(), &gathered.last.data);
                poison::park_unreadable(office, key, body, &error.to_string()).await;
            }
        }
        if gathered.requests.len() >= office.batch_bookings_max {
            return gathered;
        }
        match session.next_now() {
            Some(delivery) => gathered.last = delivery,
            None => return gathered,
        }
    }
}

/// Settles a batch, however long it takes, and acks it. `false` when the session is over.
async fn work(office: &Office, ledger: &mut Ledger, session: &Session, gathered: Gathered) -> bool {
    let (mut attempt, mut wait) = (0, RETRY_WAIT);
    while !gathered.requests.is_empty() {
        let error = match ledger.settle(office, &gathered.requests).await {
            Ok(()) => break,
            Err(error) => error,
        };
        attempt += 1;
        let partition = ledger.partition.clone();
        let mut failed = failure(&error);
        let error = anyhow::Error::from(error);
        warn!(%partition, attempt, ?failed, "a batch failed: {error:#}");
        metrics::counter!("usher_batch_failed_total", "failure" => format!("{failed:?}"))
            .increment(1);
        if attempt >= RETRIES_MAX && matches!(failed, Failure::Again | Failure::Reload) {
            failed = Failure::Poisoned;
        }
        match failed {
            Failure::Displaced => return false,
            Failure::Poisoned => {
                if !poison::isolate(office, ledger, &gathered.requests).await {
                    return false;
                }
                break;
            }
            Failure::Again => {}
            Failure::Reload => _ = ledger.reload(office).await,
            Failure::Wait => {
                // Not acked: while the database is away the bookings wait in their queue.
                if !session.is_live() || !office.shutdown.sleep(wait).await {
                    return false;
                }
                wait = (wait * 2).min(RETRY_WAIT_MAX);
            }
        }
        if !session.is_live() {
            return false;
        }
    }
    ack_all(&gathered.last).await
}
