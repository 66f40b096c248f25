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

use chrono::{DateTime, Utc};
use contract::{ProducerId, message::Number, topology::Partition};
use platform::{Shutdown, faults::failpoint, number::float};
use store::{
    Pool, StoreResult,
    acceptance::{self, Numbers, ProducerReport},
    allocators,
};
use tokio::{sync::Notify, time::Instant};
use tracing::warn;
use uuid::Uuid;

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
    born: Instant,
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
    /// Starts the reports, which go on until the shutdown begins, nobody can begin a producer any more
    /// and all is reported, or for five seconds after it began. The database
    /// knows of this node from now on.
    pub(crate) async fn start(pool: Pool, shutdown: &Shutdown) -> StoreResult<Self> {
        let (acceptances, me) = (Self::default(), Uuid::now_v7());
        let book = Arc::clone(&acceptances.0);
        let now = book.look(&pool).await?;
        acceptance::is_reported(&pool, me, now).await?;
        shutdown.spawn(tell(book, pool, me, shutdown.clone()));
        Ok(acceptances)
    }

    /// A new producer of a partition. It gives no numbers if there are too many producers, or if an
    /// old allocator would not record them.
    pub(crate) fn producer(&self, partition: &Partition) -> Producer {
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
                born: Instant::now(),
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
        Producer { id, born, next: is_whole.then(AtomicI64::default), book }
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

/// What was reported.
enum Told {
    /// There is more to report.
    InPart,
    /// Every producer that began before this moment of Postgres's clock.
    AllUntil(DateTime<Utc>),
}

impl Book {
    fn producers(&self) -> MutexGuard<'_, HashMap<ProducerId, Entry>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads whether numbers may be given, and Postgres's clock.
    async fn look(&self, pool: &Pool) -> StoreResult<DateTime<Utc>> {
        let (all_write_numbers, now) = allocators::write_numbers(pool).await?;
        self.is_mixed.store(!all_write_numbers, Ordering::Relaxed);
        Ok(now)
    }

    /// Sends one report.
    async fn tell(&self, pool: &Pool) -> StoreResult<Told> {
        // The clock is read before the news is taken, so that no producer seems younger than it is.
        let now = self.look(pool).await?;
        let (news, is_all) = self.news();
        if !news.is_empty() {
            if news.iter().any(|report| !report.confirmed.is_empty()) {
                failpoint("before-count");
            }
            if let Err(error) = acceptance::report(pool, now, &news).await {
                self.put_back(&news);
                return Err(error);
            }
            self.are_told(&news);
        }
        Ok(if is_all { Told::AllUntil(now) } else { Told::InPart })
    }

    /// Takes the next report: up to [`TOLD_AT_ONCE`] producers with news, and whether these are all.
    /// While a report has no answer, it is only repeated.
    fn news(&self) -> (Vec<ProducerReport>, bool) {
        let mut producers = self.producers();
        let is_in_doubt = producers.values().any(|entry| entry.known == Known::Perhaps);
        let is_next = |(_, entry): &(&ProducerId, &mut Entry)| {
            entry.has_news() && (!is_in_doubt || entry.known == Known::Perhaps)
        };
        let news = producers.iter_mut().filter(is_next).take(TOLD_AT_ONCE);
        let report = |(producer, entry): (&ProducerId, &mut Entry)| {
            if entry.known == Known::No {
                entry.known = Known::Perhaps;
            }
            ProducerReport {
                partition: entry.partition.clone(),
                producer: *producer,
                age: entry.born.elapsed(),
                confirmed: std::mem::take(&mut entry.confirmed),
                is_sealed: entry.is_sealed(),
            }
        };
        let news: Vec<_> = news.map(report).collect();
        let is_all = !is_in_doubt && news.len() < TOLD_AT_ONCE;
        (news, is_all)
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

/// Reports until the shutdown begins and all is reported.
async fn tell(book: Arc<Book>, pool: Pool, me: Uuid, shutdown: Shutdown) {
    let (mut until, mut complete_at) = (None, Instant::now());
    loop {
        let told = book.tell(&pool).await;
        let is_all = !matches!(told, Ok(Told::InPart));
        let is_told = told.is_ok();
        let written = match told {
            Ok(Told::AllUntil(now)) if complete_at.elapsed() >= TELL_EVERY => {
                complete_at = Instant::now();
                acceptance::is_reported(&pool, me, now).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            let error = anyhow::Error::from(error);
            warn!("reporting accepted bookings failed; trying again: {error:#}");
        }
        if shutdown.has_begun() {
            let until = *until.get_or_insert_with(|| Instant::now() + LAST_WAIT);
            // While somebody has the book, a request that is still on its way may begin a producer.
            let is_over = Arc::strong_count(&book) == 1 && book.producers().is_empty();
            if is_over || Instant::now() > until {
                return;
            }
            tokio::time::sleep(TELL_EVERY / 10).await;
        } else if is_all {
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
        let (news, _) = book.news();
        assert!(!news[0].confirmed.is_empty() && !news[0].is_sealed);
        producer.confirmed(numbers[3..].iter().copied());
        book.put_back(&news);
        let (news, _) = book.news();
        assert_eq!(news[0].confirmed.n_spans(), 2);
        book.are_told(&news);
        assert!(book.news().0.is_empty());

        drop(producer);
        let (news, _) = book.news();
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
        let (news, _) = acceptances.0.news();
        acceptances.0.put_back(&news);
        let second = acceptances.producer(&partition);
        assert_ne!(second.id, first.id);
        for _ in 0..2 {
            let (again, is_all) = acceptances.0.news();
            assert!(!is_all);
            assert_eq!(again.len(), 1, "while it has no answer, nothing else is sent");
            assert_eq!(again[0].producer, first.id);
            assert_eq!(acceptances.producer(&partition).id, second.id);
        }
        acceptances.0.are_told(&news);
        assert_eq!(acceptances.0.news().0[0].producer, second.id);
    }

    #[tokio::test]
    async fn of_what_was_accepted_without_a_number_nobody_says_that_it_is_decided() {
        let (slot, shutdown) = (Slot::take().await, Shutdown::default());
        let pool = slot.pool();
        let old = "insert into allocators (allocator_id, name) values (gen_random_uuid(), 'old')";
        sqlx::query(old).execute(&pool).await.unwrap();
        let partition = Partition { show: ShowId::new(), tier: "GOLD".parse().unwrap() };
        let acceptances = Acceptances::start(pool.clone(), &shutdown).await.unwrap();
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
        drop((producer, acceptances));
        assert!(shutdown.finish(Duration::from_secs(2)).await, "nothing is left to tell");
        let is_decided = acceptance::is_decided_of_before(&pool, partition.show, later);
        assert!(!is_decided.await.unwrap());
    }
}
