//! Publishing requests in batches: requests of one partition that come while a publish is under way
//! go out together in the next envelope. A request that comes while none is under way goes at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contract::{
    ShowId,
    message::{BookingRequested, ENVELOPE_BOOKINGS_MAX, ENVELOPE_BYTES_MAX, Envelope},
    topology::{Partition, REQUESTS},
};
use platform::{
    Shutdown,
    broker::{PublishError, Publisher},
    faults::{Guarantee, failpoint, without},
    number::float,
};
use store::live::board::Board;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use super::acceptances::{Acceptances, Producer};

/// Most requests of one partition that wait to be published; more are refused with 503.
const WAITING_MAX: usize = 4096;
/// Once a sale is over, a producer that has numbered nothing for this long is sealed, so that it is
/// soon known that nothing more was accepted. While the sale is open a producer lives its whole
/// life, so that a slow sale does not cost a producer per booking.
const SEALED_AFTER: Duration = Duration::from_secs(3);
/// The task of a partition without requests ends after this time.
const IDLE: Duration = Duration::from_mins(1);

struct Waiting {
    request: BookingRequested,
    answer: oneshot::Sender<Result<(), PublishError>>,
}

/// Publishes requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    publisher: Publisher,
    acceptances: Acceptances,
    board: watch::Receiver<Arc<Board>>,
    shutdown: Shutdown,
    lines: Arc<Mutex<HashMap<Partition, mpsc::Sender<Waiting>>>>,
}

impl Intake {
    /// An intake that publishes with this publisher.
    pub(crate) fn new(
        publisher: Publisher,
        acceptances: Acceptances,
        board: watch::Receiver<Arc<Board>>,
        shutdown: Shutdown,
    ) -> Self {
        Self { publisher, acceptances, board, shutdown, lines: Arc::default() }
    }

    fn is_open(&self, show: ShowId) -> bool {
        let board = self.board.borrow();
        board.sale(show).is_some_and(|sale| !sale.is_over(board.now()))
    }

    /// Publishes one request; returns once the broker has confirmed its envelope. The request is
    /// published even if the caller goes away.
    pub(crate) async fn submit(
        &self,
        partition: &Partition,
        request: BookingRequested,
    ) -> Result<(), PublishError> {
        let (answer, told) = oneshot::channel();
        let full = PublishError::Refused("too many requests are waiting");
        if self.line(partition).try_send(Waiting { request, answer }).is_err() {
            metrics::counter!("usher_intake_full_total").increment(1);
            return Err(full);
        }
        if without(Guarantee::Confirm) {
            return Ok(());
        }
        told.await.unwrap_or(Err(PublishError::Unknown("this node is stopping")))
    }

    fn line(&self, partition: &Partition) -> mpsc::Sender<Waiting> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(partition).filter(|line| !line.is_closed()) {
            return line.clone();
        }
        let (line, waiting) = mpsc::channel(WAITING_MAX);
        lines.retain(|_, line| !line.is_closed());
        lines.insert(partition.clone(), line.clone());
        self.shutdown.spawn(run(self.clone(), partition.clone(), waiting));
        line
    }
}

/// One envelope is under way at a time: requests that come meanwhile share the next one.
async fn run(intake: Intake, partition: Partition, mut waiting: mpsc::Receiver<Waiting>) {
    let mut producer: Option<Producer> = None;
    let mut asked_at = Instant::now();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            taken = waiting.recv_many(&mut batch, ENVELOPE_BOOKINGS_MAX) => if taken == 0 { return },
            () = sleep(SEALED_AFTER), if producer.is_some() => {
                let is_open = intake.is_open(partition.show);
                producer = producer.filter(|producer| is_open && !producer.is_old());
                continue;
            }
            () = sleep_until(asked_at + IDLE) => waiting.close(),
            () = intake.shutdown.begun() => waiting.close(),
        }
        if batch.is_empty() {
            // The channel is closed now; the next rounds take what is left in it.
            continue;
        }
        asked_at = Instant::now();
        metrics::histogram!("usher_envelope_bookings").record(float(batch.len()));
        let numbering = producer
            .take()
            .filter(|producer| !producer.is_old())
            .unwrap_or_else(|| intake.acceptances.producer(&partition));
        for waiting in &mut batch {
            waiting.request.number = numbering.number();
        }
        publish(&intake.publisher, &numbering, &partition, batch).await;
        producer = Some(numbering);
    }
}

async fn publish(
    publisher: &Publisher,
    producer: &Producer,
    partition: &Partition,
    batch: Vec<Waiting>,
) {
    let (bookings, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.request, waiting.answer)).unzip();
    let envelope = Envelope::new(partition, bookings);
    let body = envelope.encode();
    if body.len() > ENVELOPE_BYTES_MAX && answers.len() > 1 {
        // Unusually long requests go in two halves.
        let mut first: Vec<Waiting> = envelope
            .bookings
            .into_iter()
            .zip(answers)
            .map(|(request, answer)| Waiting { request, answer })
            .collect();
        let second = first.split_off(first.len() / 2);
        Box::pin(publish(publisher, producer, partition, first)).await;
        return Box::pin(publish(publisher, producer, partition, second)).await;
    }
    failpoint("before-publish");
    let told = publisher.publish(REQUESTS, &partition.routing_key(), &body).await;
    if told.is_ok() {
        failpoint("after-confirm");
        let numbers: Vec<_> =
            envelope.bookings.iter().filter_map(|booking| booking.number).collect();
        let unnumbered = answers.len().saturating_sub(numbers.len());
        metrics::counter!("usher_accepted_unnumbered_total").increment(unnumbered as u64);
        // Before any 202 goes out, so that a node that stops gracefully has counted all of them.
        producer.confirmed(numbers);
    }
    for answer in answers {
        // A client may have gone away; its booking is decided all the same.
        let _ = answer.send(told.clone());
    }
}

/// Counts a booking as accepted.
pub(crate) fn count_accepted(partition: &Partition) {
    metrics::counter!("usher_accepted_total",
        "show" => partition.show.to_string(), "tier" => partition.tier.to_string())
    .increment(1);
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use contract::{
        AccountId, BookingId, ProducerId, ShowId, TicketId,
        booking::{Kind, SEATS_PER_REQUEST_MAX, Wish},
        message::Number,
    };

    use super::*;

    #[test]
    fn an_envelope_of_the_longest_requests_is_within_the_brokers_limit() {
        let longest = BookingRequested {
            booking_id: BookingId::new(),
            account_id: AccountId::new(),
            kind: Kind::Order,
            wish: Wish::Seats(vec![
                "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"".parse().unwrap();
                SEATS_PER_REQUEST_MAX
            ]),
            idempotency_key: Some("\"".repeat(64)),
            ticket_id: Some(TicketId::new()),
            deadline: DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap(),
            traceparent: Some("0".repeat(55)),
            attempt: 255,
            number: Some(Number { producer: ProducerId::new(), n: i64::MAX - 64 }),
        };
        let partition = Partition {
            show: ShowId::new(),
            tier: "A23456789_123456789_123456789_12".parse().unwrap(),
        };
        let envelope = |bookings| Envelope::new(&partition, bookings);
        // Labels made of quotes double in JSON; 40 such requests still fit, and 64 with ordinary
        // labels.
        let plain = BookingRequested {
            wish: Wish::Seats(vec!["ABCDEFGH12345678".parse().unwrap(); SEATS_PER_REQUEST_MAX]),
            idempotency_key: Some("k".repeat(64)),
            ..longest.clone()
        };
        let bytes = envelope(vec![plain; ENVELOPE_BOOKINGS_MAX]).encode().len();
        assert!(bytes <= ENVELOPE_BYTES_MAX, "{bytes}");
        let bytes = envelope(vec![longest; 40]).encode().len();
        assert!(bytes <= ENVELOPE_BYTES_MAX, "{bytes}");
    }
}
