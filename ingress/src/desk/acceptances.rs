//! Reports to the database which requests the broker has confirmed. Each request carries a number
//! of its producer, and the confirmed numbers are reported twice a second. So the database can
//! notice an accepted request that is in no queue any more (`store::acceptance`).
//!
//! No request waits for a report. A node that dies loses at most the numbers of its last half
//! second; its producers are then never sealed, so their queues are kept until every deadline is
//! over. A producer with a number that cannot be reported is never sealed either.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use contract::{ProducerId, message::Number, topology::Partition};
use platform::{Shutdown, faults::failpoint, number::float};
use store::{
    Pool,
    acceptance::{self, Numbers, ProducerReport},
    allocators,
};
use tokio::{sync::Notify, time::Instant};
use tracing::warn;

/// How often confirmed numbers are reported.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Most producers in one report.
const TOLD_AT_ONCE: usize = 500;
/// How long a producer gives numbers; `contract::deadline::UNDECIDED_GRACE` allows for it.
const PRODUCER_LIFE: Duration = Duration::from_mins(1);
/// Most producers remembered while the database is away. Beyond it requests get no number, so that
/// the loss of one would not be noticed (`usher_accepted_unnumbered_total`); each partition then
/// has one producer for all of them, and at most [`TOLD_AT_ONCE`] have two.
const PRODUCERS_MAX: usize = 50_000;
/// Most gaps among the confirmed numbers of a producer; beyond it new numbers are not reported.
const SPANS_MAX: usize = 4_096;
/// Time for the last reports when the process stops.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Confirmed numbers that are not reported yet. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Acceptances(Arc<Book>);

#[derive(Default)]
struct Book {
    producers: Mutex<HashMap<ProducerId, Entry>>,
    /// Whether an old allocator is running that does not record numbers: then none are given.
    is_mixed: AtomicBool,
    /// Wakes the report of a new producer, so that the database knows it before its requests.
    news: Notify,
}

/// Whether the database knows a producer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    /// It was in a report that got no answer yet. If the database has it, it is unknown since when.
    Perhaps,
    Yes,
}

struct Entry {
    partition: Partition,
    known: Known,
    confirmed: Numbers,
    /// Whether every confirmed number is or will be reported; else the producer is never sealed.
    is_whole: bool,
    has_ended: bool,
}

impl Entry {
    fn has_news(&self) -> bool {
        self.known != Known::Yes || self.has_ended || !self.confirmed.is_empty()
    }

    fn is_sealed(&self) -> bool {
        self.has_ended && self.is_whole
    }
}

/// Numbers this node's requests to one partition, for at most a minute. It ends when it is dropped.
pub(crate) struct Producer {
    id: ProducerId,
    born: Instant,
    /// The next number; `None` where requests are accepted without a number.
    next: Option<AtomicI64>,
    book: Arc<Book>,
}

impl Acceptances {
    /// Starts the reports, which go on until the shutdown begins and all is reported.
    pub(crate) fn start(pool: Pool, shutdown: &Shutdown) -> Self {
        let acceptances = Self::default();
        shutdown.spawn(tell(Arc::clone(&acceptances.0), pool, shutdown.clone()));
        acceptances
    }

    /// A new producer of a partition. It gives no numbers if there are too many producers, or if an
    /// old allocator would not record them.
    pub(crate) fn producer(&self, partition: &Partition) -> Arc<Producer> {
        let mut producers = self.0.producers();
        let is_whole = !self.0.is_mixed.load(Ordering::Relaxed) && producers.len() < PRODUCERS_MAX;
        let untold = |(_, entry): &(&ProducerId, &Entry)| {
            !entry.is_whole && entry.known == Known::No && entry.partition == *partition
        };
        // One producer without numbers per partition is enough: it only keeps the queue.
        let before = if is_whole { None } else { producers.iter().find(untold).map(|(id, _)| *id) };
        let id = before.unwrap_or_else(|| {
            let entry = Entry {
                partition: partition.clone(),
                known: Known::No,
                confirmed: Numbers::default(),
                is_whole,
                has_ended: false,
            };
            let id = ProducerId::new();
            producers.insert(id, entry);
            id
        });
        self.0.news.notify_one();
        let (born, book) = (Instant::now(), Arc::clone(&self.0));
        Arc::new(Producer { id, born, next: is_whole.then(AtomicI64::default), book })
    }
}

impl Producer {
    /// Whether a new producer is to take its place.
    pub(crate) fn is_old(&self) -> bool {
        let is_mixed = self.book.is_mixed.load(Ordering::Relaxed);
        self.born.elapsed() > PRODUCER_LIFE || (self.next.is_some() && is_mixed)
    }

    /// The number of the next request, if it gets one.
    pub(crate) fn number(&self) -> Option<Number> {
        let n = self.next.as_ref()?.fetch_add(1, Ordering::Relaxed);
        Some(Number { producer: self.id, n })
    }

    /// Notes that the broker has confirmed these numbers.
    pub(crate) fn confirmed(&self, numbers: impl IntoIterator<Item = Number>) {
        let mut producers = self.book.producers();
        let Some(entry) = producers.get_mut(&self.id) else { return };
        for Number { n, .. } in numbers {
            if entry.confirmed.n_spans() < SPANS_MAX {
                entry.confirmed.add(n, n);
            } else {
                entry.is_whole = false;
                metrics::counter!("usher_accepted_unnumbered_total").increment(1);
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(entry) = self.book.producers().get_mut(&self.id) {
            entry.has_ended = true;
        }
    }
}

impl Book {
    fn producers(&self) -> MutexGuard<'_, HashMap<ProducerId, Entry>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next report: up to [`TOLD_AT_ONCE`] producers with news. While a report has no
    /// answer, it is only repeated.
    fn news(&self) -> Vec<ProducerReport> {
        let mut producers = self.producers();
        let is_in_doubt = producers.values().any(|entry| entry.known == Known::Perhaps);
        let is_next = |(_, entry): &(&ProducerId, &mut Entry)| {
            entry.has_news() && (!is_in_doubt || entry.known == Known::Perhaps)
        };
        let news = producers.iter_mut().filter(is_next).take(TOLD_AT_ONCE);
        news.map(|(producer, entry)| {
            if entry.known == Known::No {
                entry.known = Known::Perhaps;
            }
            ProducerReport {
                partition: entry.partition.clone(),
                producer: *producer,
                confirmed: std::mem::take(&mut entry.confirmed),
                is_sealed: entry.is_sealed(),
            }
        })
        .collect()
    }

    /// Puts back a report that failed.
    fn put_back(&self, news: &[ProducerReport]) {
        let mut producers = self.producers();
        for report in news {
            if let Some(entry) = producers.get_mut(&report.producer) {
                entry.confirmed.merge(&report.confirmed);
            }
        }
    }

    fn are_told(&self, news: &[ProducerReport]) {
        let mut producers = self.producers();
        for report in news {
            let Some(entry) = producers.get_mut(&report.producer) else { continue };
            entry.known = Known::Yes;
            let is_never_sealed = entry.has_ended && !entry.is_whole;
            if report.is_sealed || (is_never_sealed && entry.confirmed.is_empty()) {
                producers.remove(&report.producer);
            }
        }
        metrics::gauge!("usher_producers").set(float(producers.len()));
    }
}

async fn tell(book: Arc<Book>, pool: Pool, shutdown: Shutdown) {
    let mut until = None;
    loop {
        if let Ok(all) = allocators::write_numbers(&pool).await {
            book.is_mixed.store(!all, Ordering::Relaxed);
        }
        let news = book.news();
        let is_all = news.len() < TOLD_AT_ONCE;
        let mut is_told = true;
        if !news.is_empty() {
            if news.iter().any(|report| !report.confirmed.is_empty()) {
                failpoint("before-count");
            }
            match acceptance::report(&pool, &news).await {
                Ok(()) => book.are_told(&news),
                Err(error) => {
                    is_told = false;
                    book.put_back(&news);
                    let error = anyhow::Error::from(error);
                    warn!("reporting accepted bookings failed; trying again: {error:#}");
                }
            }
        }
        if shutdown.has_begun() {
            let until = *until.get_or_insert_with(|| Instant::now() + LAST_WAIT);
            if book.producers().is_empty() || Instant::now() > until {
                return;
            }
            tokio::time::sleep(TELL_EVERY / 10).await;
        } else if is_all || !is_told {
            tokio::select! {
                () = shutdown.begun() => {}
                () = tokio::time::sleep(TELL_EVERY) => {}
                () = book.news.notified(), if is_told => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::ShowId;
    use testing::{Slot, eventually};

    use super::*;

    #[test]
    fn what_could_not_be_told_is_told_with_what_comes_after_and_the_last_word_is_the_seal() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let acceptances = Acceptances::default();
        let book = &acceptances.0;
        let producer = acceptances.producer(&partition);
        let numbers: Vec<Number> = (0..4).filter_map(|_| producer.number()).collect();
        assert_eq!(numbers.iter().map(|number| number.n).collect::<Vec<_>>(), [0, 1, 2, 3]);

        producer.confirmed(numbers[..2].iter().copied());
        let news = book.news();
        assert!(!news[0].confirmed.is_empty() && !news[0].is_sealed);
        producer.confirmed(numbers[3..].iter().copied());
        book.put_back(&news);
        let news = book.news();
        assert_eq!(news[0].confirmed.n_spans(), 2);
        book.are_told(&news);
        assert!(book.news().is_empty());

        drop(producer);
        let news = book.news();
        assert!(news[0].is_sealed && news[0].confirmed.is_empty());
        book.are_told(&news);
        assert!(book.producers().is_empty());
    }

    /// It is not known whether the database has heard of the first, nor since when.
    #[test]
    fn of_two_producers_without_numbers_the_second_is_another_once_the_first_was_sent() {
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let acceptances = Acceptances::default();
        acceptances.0.is_mixed.store(true, Ordering::Relaxed);
        let first = acceptances.producer(&partition);
        assert_eq!(acceptances.producer(&partition).id, first.id, "one says all that there is");
        let news = acceptances.0.news();
        acceptances.0.put_back(&news);
        let second = acceptances.producer(&partition);
        assert_ne!(second.id, first.id);
        for _ in 0..2 {
            let again = acceptances.0.news();
            assert_eq!(again.len(), 1, "while it has no answer, nothing else is sent");
            assert_eq!(again[0].producer, first.id);
            assert_eq!(acceptances.producer(&partition).id, second.id);
        }
        acceptances.0.are_told(&news);
        assert_eq!(acceptances.0.news()[0].producer, second.id);
    }

    #[tokio::test]
    async fn of_what_was_accepted_without_a_number_nobody_says_that_it_is_decided() {
        let (slot, shutdown) = (Slot::take().await, Shutdown::default());
        let pool = slot.pool();
        let old = "insert into allocators (allocator_id, name) values (gen_random_uuid(), 'old')";
        sqlx::query(old).execute(&pool).await.unwrap();
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let acceptances = Acceptances::start(pool.clone(), &shutdown);
        let soon = Duration::from_secs(10);
        eventually("an old allocator is heard of", soon, async || {
            acceptances.0.is_mixed.load(Ordering::Relaxed).then_some(())
        })
        .await;
        let producer = acceptances.producer(&partition);
        let later = eventually("it is written down", soon, async || {
            let later = "select clock_timestamp() from accepted where show_id = $1";
            let later = sqlx::query_scalar(later).bind(partition.show.0);
            later.fetch_optional(&pool).await.unwrap()
        })
        .await;
        drop(producer);
        assert!(shutdown.finish(Duration::from_secs(2)).await, "nothing is left to tell");
        let is_decided = acceptance::is_decided_of_before(&pool, partition.show, later);
        assert!(!is_decided.await.unwrap());
    }
}
