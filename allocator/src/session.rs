//! A session: one consumer of one partition's queue, from its first delivery to the loss of its
//! connection or of the partition.

use std::{sync::Arc, time::Duration};

use contract::{
    message::{BookingRequested, Envelope},
    topology::Partition,
};
use platform::broker::{Delivery, Link, Session, ack_all};
use store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Office,
    backlog::InHand,
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
pub(crate) async fn run(
    office: Office,
    partition: Partition,
    in_hand: InHand,
    stop: CancellationToken,
) {
    let mut broker = office.consuming.clone();
    while !stop.is_cancelled() {
        let link = tokio::select! {
            () = stop.cancelled() => break,
            link = broker.link_soon() => match link { Some(link) => link, None => break },
        };
        if let Err(error) = one(&office, &partition, &in_hand, link, &stop).await {
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
    in_hand: &InHand,
    link: Arc<Link>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut session = Session::open(link, &partition.queue(), PREFETCH).await?;
    let first = tokio::select! {
        () = stop.cancelled() => None,
        first = session.next() => first,
    };
    // The epoch is taken on the first delivery, not before: until then another consumer may be
    // the active one. A session that is known to be dead takes none. One that was frozen and does
    // not know yet may take one for nothing: the fence makes that harmless, and its acks go nowhere.
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
        let Some(gathered) = gather(office, &mut session, delivery).await else { break };
        in_hand.takes(&gathered.requests, gathered.messages);
        if !work(office, &mut ledger, &session, stop, gathered).await {
            break;
        }
        in_hand.is_empty_again(Instant::now());
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
    messages: usize,
    last: Delivery,
}

/// Takes what is already here, up to the bound; waits for nothing. `None` where something
/// unreadable could not be put aside: it comes back in another session.
async fn gather(office: &Office, session: &mut Session, first: Delivery) -> Option<Gathered> {
    let mut gathered = Gathered { requests: Vec::new(), messages: 1, last: first };
    loop {
        match Envelope::decode(&gathered.last.data) {
            Ok(envelope) => gathered.requests.extend(envelope.bookings),
            Err(error) => {
                let (key, body) = (gathered.last.routing_key.as_str(), &gathered.last.data);
                let parked = poison::park_unreadable(office, key, body, &error.to_string()).await;
                if let Err(error) = parked {
                    warn!("a message cannot be put aside yet: {:#}", anyhow::Error::from(error));
                    return None;
                }
            }
        }
        if gathered.requests.len() >= office.batch_bookings_max {
            return Some(gathered);
        }
        match session.next_now() {
            Some(delivery) => {
                gathered.last = delivery;
                gathered.messages += 1;
            }
            None => return Some(gathered),
        }
    }
}

/// Settles a batch, however long it takes, and acks it. `false` when the session is over: then
/// nothing is acked, and the bookings come back in another.
async fn work(
    office: &Office,
    ledger: &mut Ledger,
    session: &Session,
    stop: &CancellationToken,
    gathered: Gathered,
) -> bool {
    let (mut again, mut wait) = (0, RETRY_WAIT);
    while !gathered.requests.is_empty() {
        let Err(error) = ledger.settle(office, &gathered.requests).await else { break };
        let failed = note(&ledger.partition, error);
        match failed {
            Failure::Displaced => return false,
            Failure::Again | Failure::Reload if again < RETRIES_MAX => again += 1,
            Failure::Again | Failure::Reload | Failure::Poisoned => {
                if !poison::isolate(office, ledger, session, stop, &gathered.requests).await {
                    return false;
                }
                break;
            }
            Failure::Wait => {
                // While the database is away the bookings wait in their queue.
                tokio::select! {
                    () = stop.cancelled() => return false,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(RETRY_WAIT_MAX);
            }
        }
        if failed == Failure::Reload && ledger.reload(office).await.is_err() {
            return false;
        }
        if stop.is_cancelled() || !session.is_live() {
            return false;
        }
    }
    ack_all(&gathered.last).await
}

fn note(partition: &Partition, error: StoreError) -> Failure {
    let failed = failure(&error);
    let name = format!("{failed:?}");
    warn!(%partition, failure = name, "a batch failed: {:#}", anyhow::Error::from(error));
    metrics::counter!("usher_batch_failed_total", "failure" => name).increment(1);
    failed
}
