//! Counts of what a crowd does, kept while it runs. They hold only what a client sees.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contract::{BookingId, api::problem::Code};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::times::Times;

/// A part of the journey that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// From the planned moment of arrival until the crowd had room for the visitor.
    Arrive,
    /// From the planned moment of arrival.
    SignUp,
    /// From the arrival, or from the end of the sign-up, to the answer.
    Join,
    /// From getting the place to getting the pass.
    Line,
    SeatMap,
    /// How many seats of each tier are left.
    Availability,
    /// From `POST /bookings` to the 202.
    Accept,
    /// From the 202 to the outcome.
    Decide,
    /// `POST /holds`, which waits for its outcome.
    Hold,
    Order,
    Pay,
    Ticket,
}

impl Step {
    /// The name of the step in the report.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Arrive => "late by the plan",
            Self::SignUp => "sign up and log in",
            Self::Join => "join the line",
            Self::Line => "wait in the line",
            Self::SeatMap => "seat map",
            Self::Availability => "seats left, by tier",
            Self::Accept => "booking to 202",
            Self::Decide => "202 to outcome",
            Self::Hold => "hold, decided",
            Self::Order => "order from a hold",
            Self::Pay => "pay",
            Self::Ticket => "ticket",
        }
    }
}

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VisitEnd {
    Ticket,
    Cancelled,
    HoldLapsed,
    OrderLapsed,
    LeftTheLine,
    SoldOut,
    /// Lost the chosen seats to others in every try.
    Outrun,
    /// Refused with this code.
    Refused(Code),
    /// Could not go on, for this reason.
    Failed(String),
}

impl VisitEnd {
    /// The name of the ending in the report.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Ticket => "holds a paid ticket".into(),
            Self::Cancelled => "cancelled".into(),
            Self::HoldLapsed => "left a hold to lapse".into(),
            Self::OrderLapsed => "left an order to lapse".into(),
            Self::LeftTheLine => "left the line".into(),
            Self::SoldOut => "told: sold out".into(),
            Self::Outrun => "outrun for every choice of seats".into(),
            Self::Refused(code) => format!("refused: {}", code.as_str()),
            Self::Failed(what) => format!("FAILED: {what}"),
        }
    }
}

/// How far a sale was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the crowd set out.
    pub at: Duration,
    pub waiting: u64,
    pub admitted: u64,
    pub accepted: u64,
    pub allocated: u64,
    pub tickets: u64,
    /// `None` if the show could not be read.
    pub seats_left: Option<i32>,
}

/// Most moments that are kept: a day, second by second. Later ones are left out.
const MOMENTS_MAX: usize = 24 * 60 * 60;
/// Most endings that are counted apart; reasons of failures may differ without bound.
const ENDINGS_MAX: usize = 50;

/// What a tally has counted since it was last taken, for another tally to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// In the order of [`Tally::counts`]; filled when it is taken.
    counts: [u64; COUNTS],
    times: BTreeMap<Step, Times>,
    admissions: Vec<Duration>,
    sold_out_first: Option<Duration>,
    bookings: Vec<BookingId>,
    endings: Vec<(VisitEnd, u64)>,
}

const COUNTS: usize = 11;

/// Counts of a running crowd. Shared by all visitors.
#[derive(Debug, Default)]
pub struct Tally {
    started: Start,
    pub arrived: Count,
    pub waiting: Count,
    pub admitted: Count,
    pub accepted: Count,
    pub allocated: Count,
    pub rejected: Count,
    pub tickets: Count,
    /// Sockets and streams of the line that were opened again.
    pub reconnects: Count,
    /// Positions shown that were larger than the one before.
    pub went_up: Count,
    /// Lapsed holds and orders that the API then called EXPIRED.
    pub lapses_seen: Count,
    /// Calls sent again after 429, 503 or no answer; counted when the crowd has ended.
    pub repeats: Count,
    seen: Mutex<Seen>,
    moments: Mutex<Vec<Moment>>,
}

/// When the crowd set out.
#[derive(Debug)]
struct Start(Instant);

impl Default for Start {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Tally {
    /// Time since the crowd set out.
    pub fn elapsed(&self) -> Duration {
        self.started.0.elapsed()
    }

    /// Notes how long a step took since `from`.
    pub fn took(&self, step: Step, from: Instant) {
        let took = from.elapsed();
        let second = u32::try_from(self.elapsed().as_secs()).unwrap_or(u32::MAX);
        lock(&self.seen).times.entry(step).or_default().note(second, took);
    }

    /// Notes how far the sale is now.
    pub fn note_moment(&self, seats_left: Option<i32>) {
        let moment = self.moment(seats_left);
        let mut moments = lock(&self.moments);
        if moments.len() < MOMENTS_MAX {
            moments.push(moment);
        }
    }

    /// How far the sale was, moment by moment, and how far it is now.
    pub fn moments(&self) -> Vec<Moment> {
        let now = self.moment(None);
        lock(&self.moments).iter().copied().chain([now]).collect()
    }

    fn moment(&self, seats_left: Option<i32>) -> Moment {
        Moment {
            at: self.elapsed(),
            waiting: self.waiting.get(),
            admitted: self.admitted.get(),
            accepted: self.accepted.get(),
            allocated: self.allocated.get(),
            tickets: self.tickets.get(),
            seats_left,
        }
    }

    /// Notes that a visitor was admitted just now.
    pub fn let_in(&self) {
        self.admitted.up();
        lock(&self.seen).admissions.push(self.elapsed());
    }

    /// Notes that a visitor in the line was told that the show is sold out.
    pub fn hears_sold_out(&self) {
        lock(&self.seen).sold_out_first.get_or_insert_with(|| self.elapsed());
    }

    /// Time from the start until a visitor in the line first heard that the show is sold out.
    pub fn sold_out_first(&self) -> Option<Duration> {
        lock(&self.seen).sold_out_first
    }

    /// Notes a booking that was accepted just now.
    pub fn accepts(&self, id: BookingId) {
        self.accepted.up();
        lock(&self.seen).bookings.push(id);
    }

    /// The accepted bookings so far.
    pub fn bookings(&self) -> Vec<BookingId> {
        lock(&self.seen).bookings.clone()
    }

    /// Notes how a visit ended.
    pub fn end(&self, ending: VisitEnd) {
        self.end_alike(ending, 1);
    }

    /// Notes how `n` visits ended.
    pub(crate) fn end_alike(&self, mut ending: VisitEnd, n: u64) {
        if n == 0 {
            return;
        }
        let endings = &mut lock(&self.seen).endings;
        let is_new = endings.iter().all(|(known, _)| *known != ending);
        if is_new && endings.len() >= ENDINGS_MAX {
            ending = VisitEnd::Failed("in other ways".into());
        }
        if let Some((_, count)) = endings.iter_mut().find(|(known, _)| *known == ending) {
            *count += n;
        } else {
            endings.push((ending, n));
        }
    }

    /// Every step's times so far.
    pub fn times(&self) -> BTreeMap<Step, Times> {
        lock(&self.seen).times.clone()
    }

    /// Times of admissions, from the start of the crowd.
    pub fn admissions(&self) -> Vec<Duration> {
        lock(&self.seen).admissions.clone()
    }

    /// How visits ended so far.
    pub fn endings(&self) -> BTreeMap<VisitEnd, u64> {
        lock(&self.seen).endings.iter().cloned().collect()
    }

    /// Takes out what was counted since the last time, but for the moments.
    pub fn take(&self) -> Seen {
        Seen { counts: self.counts().map(Count::take), ..std::mem::take(&mut *lock(&self.seen)) }
    }

    /// Adds what another tally counted, which began at the same moment.
    pub fn add(&self, other: Seen) {
        for (count, n) in self.counts().into_iter().zip(other.counts) {
            count.add(n);
        }
        for (ending, n) in other.endings {
            self.end_alike(ending, n);
        }
        let mut seen = lock(&self.seen);
        for (step, times) in other.times {
            seen.times.entry(step).or_default().add(times);
        }
        seen.admissions.extend(other.admissions);
        seen.bookings.extend(other.bookings);
        let sold_out = [seen.sold_out_first, other.sold_out_first];
        seen.sold_out_first = sold_out.into_iter().flatten().min();
    }

    fn counts(&self) -> [&Count; COUNTS] {
        [
            &self.arrived,
            &self.waiting,
            &self.admitted,
            &self.accepted,
            &self.allocated,
            &self.rejected,
            &self.tickets,
            &self.reconnects,
            &self.went_up,
            &self.lapses_seen,
            &self.repeats,
        ]
    }
}

/// A number that many visitors change.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds what was taken from another count. Both may wrap around below zero.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes the number, and leaves zero.
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }

    /// Counts one more until the returned guard is dropped.
    #[must_use]
    pub fn present(&self) -> Present<'_> {
        self.up();
        Present(self)
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A guard that counts one; dropping it counts one less.
pub struct Present<'a>(&'a Count);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_processes_see_adds_up_to_what_one_would_see() {
        let (whole, sum) = (Tally::default(), Tally::default());
        let parts = [Tally::default(), Tally::default()];
        for n in 0..100 {
            let part = &parts[n % 2];
            for tally in [&whole, part] {
                tally.arrived.up();
                match n {
                    0..50 => tally.waiting.up(),
                    50..90 => tally.waiting.down(),
                    _ => tally.let_in(),
                }
                tally.took(Step::Join, Instant::now());
                tally.accepts(BookingId::new());
                tally.end(VisitEnd::Failed(format!("for reason {}", n % 5)));
            }
            if n % 7 == 0 {
                sum.add(part.take());
            }
        }
        for part in &parts {
            sum.add(part.take());
            assert_eq!(part.take(), Seen::default());
        }
        assert_eq!(sum.counts().map(Count::get), whole.counts().map(Count::get));
        assert_eq!(sum.endings(), whole.endings());
        assert_eq!((sum.waiting.get(), sum.admissions().len()), (10, 10));
        assert_eq!(sum.times()[&Step::Join].latency().unwrap().n, 100);
        assert_eq!(sum.bookings().len(), 100);
        for at in [7, 3, 5].map(Duration::from_secs) {
            sum.add(Seen { sold_out_first: Some(at), ..Seen::default() });
        }
        assert_eq!(sum.sold_out_first(), Some(Duration::from_secs(3)));
    }
}
