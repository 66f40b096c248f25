//! A session: one consumer of one partition's queue, from its subscription to the loss of its
//! connection or of the partition, or to the end of the sale.

use std::{sync::Arc, time::Duration};

use contract::{
    message::{BookingRequested, Envelope, Sentinel},
    topology::{PARKED, Partition},
};
use platform::{
    broker::{Consumer, Delivery, Link, ack_all, times_returned},
    faults::{Guarantee, failpoint, sometimes, without},
};
use store::{StoreError, partitions};
use tokio::{
    sync::{SemaphorePermit, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    allocator::Allocator,
    batch::Ledger,
    failure::{Failure, failure, lasting_failure},
    in_hand::InHand,
    locks::Locks,
    queues::{self, Passed},
    reading,
};

/// Envelopes in hand and not acked; each carries up to 64 bookings.
const PREFETCH: u16 = 64;
/// A delivery that has come back this often may be what ends its consumers. It is settled one
/// booking at a time, so that its other bookings are safe first.
const SUSPICIOUS_RETURNS: i64 = 3;
/// How often a batch is run again at once before the session pauses.
const RETRIES_MAX: u32 = 5;
const RETRY_WAIT: Duration = Duration::from_millis(200);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The consumer, channel, connection or partition was lost, or the session was told to stop.
    Lost,
    /// The sale has closed and everything accepted for it is decided.
    Drained,
    /// The sale has opened again.
    Reopened,
}

/// One session, from the subscription to its end. It also waits for the end of the sale.
pub(crate) async fn run(
    allocator: &Allocator,
    partition: &Partition,
    locks: &Arc<Locks>,
    in_hand: &InHand,
    link: Arc<Link>,
    closed: watch::Receiver<bool>,
    stop: &CancellationToken,
) -> anyhow::Result<Over> {
    let (queue, link_of_session) = (partition.queue(), Arc::clone(&link));
    let consumer = Consumer::open_unless(link_of_session, &queue, PREFETCH, stop).await?;
    in_hand.is_served(true);
    let (stop, passed) = (stop.child_token(), Passed::default());
    let mut session = Session { allocator, stop: &stop, consumer, passed: &passed };
    let consuming = async {
        session.consume(partition, locks, in_hand).await;
        stop.cancel();
    };
    let draining = async {
        let over = tokio::select! {
            () = stop.cancelled() => Over::Lost,
            drained = queues::drain(allocator, &link, partition, closed, &passed, in_hand) => {
                if drained { Over::Drained } else { Over::Reopened }
            }
        };
        // The session finishes what it has in hand.
        stop.cancel();
        over
    };
    let ((), over) = tokio::join!(consuming, draining);
    in_hand.is_served(false);
    session.consumer.close().await;
    Ok(over)
}

/// A session and what can end it.
struct Session<'a> {
    allocator: &'a Allocator,
    stop: &'a CancellationToken,
    consumer: Consumer,
    passed: &'a Passed,
}

/// Deliveries of one batch, acked together by the last one.
struct Gathered {
    requests: Vec<BookingRequested>,
    sentinels: Vec<Sentinel>,
    last: Delivery,
    suspicious: bool,
}

/// The result of settling some bookings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Done,
    /// A booking breaks the batch.
    Poisoned,
    /// The session is over; the bookings come back in another one.
    Over,
}

impl Session<'_> {
    async fn consume(&mut self, partition: &Partition, locks: &Arc<Locks>, in_hand: &InHand) {
        let mut next = self.next().await;
        // The epoch is taken on the first delivery, not before: until then another consumer may be
        // the active one. A session that is known to be dead takes none. A session that was frozen
        // and does not know that it is dead may take one, which is harmless: its late commits fail
        // on the epoch, and its acks have no effect.
        let Some(first) = next.as_ref().filter(|_| self.consumer.is_live()) else { return };
        if first.redelivered {
            sometimes("redelivered after takeover");
        }
        let mut ledger = None;
        while let Some(delivery) = next {
            let Some(mut gathered) = self.gather(delivery).await else { break };
            if without(Guarantee::Order) {
                gathered.requests.reverse();
            }
            // Noted before the first booking waits for the database, so that the backlog shows it.
            in_hand.takes(&gathered.requests);
            if ledger.is_none() {
                ledger = self.begin(partition, locks).await;
            }
            let Some(ledger) = &mut ledger else { break };
            self.passed.epoch.send_replace(Some(ledger.epoch));
            let sentinels = gathered.sentinels.clone();
            if !self.settle_and_ack(ledger, gathered).await {
                break;
            }
            for sentinel in sentinels {
                self.passed.sentinel.send_replace(Some(sentinel));
            }
            in_hand.is_empty_again(Instant::now());
            next = self.next().await;
        }
    }

    async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            next = self.consumer.next() => next,
        }
    }

    /// Takes the partition's next epoch and reads the partition, as soon as the database is there.
    /// Giving up instead would return all deliveries, and each return is counted.
    async fn begin(&self, partition: &Partition, locks: &Arc<Locks>) -> Option<Ledger> {
        let owner = format!("{}", std::process::id());
        let (mut was_locked_out, mut wait) = (false, RETRY_WAIT);
        loop {
            let turn = if was_locked_out { Some(self.turn().await?) } else { None };
            let begun = async {
                let pool = &self.allocator.pool;
                let epoch = partitions::begin_session(pool, partition, &owner).await?;
                failpoint("after-epoch");
                Ledger::open(self.allocator, partition.clone(), epoch, Arc::clone(locks)).await
            };
            let begun = begun.await;
            drop(turn);
            let error = match begun {
                Ok(ledger) => {
                    self.allocator.waiting.is_over(partition);
                    info!(%partition, epoch = ledger.epoch, "a session begins");
                    return Some(ledger);
                }
                Err(error) => error,
            };
            // No booking has been decided yet, so no booking is at fault.
            let passes = match classify(self.allocator, partition, &error) {
                Failure::Again | Failure::Wait => true,
                Failure::Broken | Failure::Poisoned => {
                    self.allocator.waiting.begins(partition, &error);
                    true
                }
                Failure::Reload | Failure::Displaced => false,
            };
            if !passes || !self.pause(&mut wait).await {
                return None;
            }
            was_locked_out |= error.is_lock_timeout();
        }
    }

    /// Takes the deliveries that are already here, up to the bound. Waits only for the database, to
    /// set an unreadable message aside. `None` if the session is over before that.
    async fn gather(&mut self, first: Delivery) -> Option<Gathered> {
        let mut gathered = Gathered {
            requests: Vec::new(),
            sentinels: Vec::new(),
            last: first,
            suspicious: false,
        };
        let mut wait = RETRY_WAIT;
        loop {
            let (key, body) = (gathered.last.routing_key.as_str(), &gathered.last.data);
            let read = match Sentinel::decode(body) {
                Some(sentinel) => {
                    gathered.sentinels.push(sentinel);
                    Ok(None)
                }
                None => reading::read(self.allocator, key, body).await,
            };
            match read {
                Ok(envelope) => {
                    let readable = envelope.into_iter().flat_map(|envelope| envelope.bookings);
                    gathered.requests.extend(readable);
                }
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    warn!("a message cannot be set aside yet: {error:#}");
                    if self.pause(&mut wait).await {
                        continue;
                    }
                    return None;
                }
            }
            gathered.suspicious = times_returned(&gathered.last) >= SUSPICIOUS_RETURNS;
            if gathered.suspicious || gathered.requests.len() >= self.allocator.batch_bookings_max {
                return Some(gathered);
            }
            match self.consumer.next_now() {
                Some(delivery) => {
                    gathered.last = delivery;
                }
                None => return Some(gathered),
            }
        }
    }

    /// Settles a batch, however long it takes, and acks it. `false` if the session is over: then
    /// nothing is acked, and the bookings come back in another session.
    async fn settle_and_ack(&self, ledger: &mut Ledger, gathered: Gathered) -> bool {
        failpoint("after-delivery");
        let acked = without(Guarantee::AckAfterCommit) && ack_all(&gathered.last).await;
        // One of those that came back too often may end the process: those before it are settled.
        let parts = match &gathered.requests[..] {
            requests if gathered.suspicious => requests.chunks(1).collect(),
            requests => vec![requests],
        };
        let settled = self.settle_parts(ledger, parts).await;
        if !settled {
            return false;
        }
        let acked = acked || ack_all(&gathered.last).await;
        failpoint("after-ack");
        acked
    }

    /// Settles these parts of a batch, one after the other. A part that is poisoned is settled in
    /// halves, so that one bad booking among many costs few transactions; a booking that fails alone
    /// is parked. `false` if the session is over.
    async fn settle_parts(&self, ledger: &mut Ledger, mut parts: Vec<&[BookingRequested]>) -> bool {
        parts.reverse();
        while let Some(part) = parts.pop() {
            match (self.settle_with_retries(ledger, part).await, part) {
                (Settled::Done, _) => {}
                (Settled::Over, _) => return false,
                (Settled::Poisoned, [request]) => {
                    warn!(booking = %request.booking_id, "a booking is parked");
                    metrics::counter!("usher_parked_total", "why" => "poison").increment(1);
                    let parked = park(self.allocator, &ledger.partition, request).await;
                    if !parked || ledger.reload(self.allocator).await.is_err() {
                        return false;
                    }
                    sometimes("poison parked");
                }
                (Settled::Poisoned, _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        true
    }

    /// Settles these bookings together, and retries while a retry can help.
    async fn settle_with_retries(
        &self,
        ledger: &mut Ledger,
        requests: &[BookingRequested],
    ) -> Settled {
        let (mut again, mut was_locked_out, mut wait) = (0, false, RETRY_WAIT);
        while !requests.is_empty() {
            let turn = if was_locked_out {
                let Some(turn) = self.turn().await else { return Settled::Over };
                Some(turn)
            } else {
                None
            };
            let Err(error) = ledger.settle(self.allocator, requests).await else { break };
            drop(turn);
            again += 1;
            was_locked_out |= error.is_lock_timeout();
            let failed = match classify(self.allocator, &ledger.partition, &error) {
                Failure::Reload if again > RETRIES_MAX => lasting_failure(&error),
                failed => failed,
            };
            let go_on = match failed {
                Failure::Displaced => return Settled::Over,
                Failure::Poisoned => return Settled::Poisoned,
                Failure::Reload if ledger.reload(self.allocator).await.is_ok() => self.may_go_on(),
                Failure::Again if again <= RETRIES_MAX => self.may_go_on(),
                Failure::Broken => {
                    self.allocator.waiting.begins(&ledger.partition, &error);
                    self.pause(&mut wait).await
                }
                // While the database is away the bookings wait here, and in their queue.
                Failure::Again | Failure::Reload | Failure::Wait => self.pause(&mut wait).await,
            };
            if !go_on {
                return Settled::Over;
            }
        }
        self.allocator.waiting.is_over(&ledger.partition);
        Settled::Done
    }

    /// Waits for its turn to try again after it waited in vain for a lock: while it waits for one,
    /// it keeps a connection, and not all connections may be used for that. `None` if the session is
    /// over.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.stop.run_until_cancelled(self.allocator.retries.acquire()).await?.ok()?;
        self.may_go_on().then_some(turn)
    }

    /// Waits for the database, longer each time. Returns whether the session is still on.
    async fn pause(&self, wait: &mut Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(*wait) => {}
        }
        *wait = (*wait * 2).min(RETRY_WAIT_MAX);
        self.may_go_on()
    }

    fn may_go_on(&self) -> bool {
        !self.stop.is_cancelled() && self.consumer.is_live()
    }
}

async fn park(allocator: &Allocator, partition: &Partition, request: &BookingRequested) -> bool {
    let envelope = Envelope::new(partition, vec![request.clone()]);
    let parked =
        allocator.publisher.publish(PARKED, &partition.routing_key(), &envelope.encode()).await;
    parked.is_ok()
}

fn classify(allocator: &Allocator, partition: &Partition, error: &StoreError) -> Failure {
    let mut failed = failure(error);
    if without(Guarantee::OnlyDataCondemns) && failed == Failure::Broken {
        failed = Failure::Poisoned;
    }
    if error.is_deadlock() {
        sometimes("deadlock retried");
    }
    let name = format!("{failed:?}");
    // Waiting for the installation is logged when it begins, not in each round.
    if failed != Failure::Broken
        && let Some(unsaid) = allocator.lines.may_be_written(&name, Instant::now())
    {
        warn!(%partition, failure = name, unsaid, "the batch failed: {}", error.text());
    }
    metrics::counter!("usher_batch_failed_total", "failure" => name).increment(1);
    failed
}
