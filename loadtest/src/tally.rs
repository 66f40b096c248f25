//! Counts of what a crowd does, kept while it runs. They hold only what a client sees.

use contract::api::problem::Code;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::times::Times;

/// A part of the journey that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Counts of a running crowd. Shared by all visitors.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    pub arrived: Count,
    pub waiting: Count,
    pub admitted: Count,
    pub accepted: Count,
    pub allocated: Count,
    pub rejected: Count,
    pub tickets: Count,
    pub ended: Count,
    /// Sockets and streams of the line that were opened again.
    pub reconnects: Count,
    /// Positions shown that were larger than the one before.
    pub went_up: Count,
    /// Lapsed holds and orders that the API then called EXPIRED.
    pub lapses_seen: Count,
    times: Mutex<BTreeMap<Step, Times>>,
    moments: Mutex<Vec<Moment>>,
    admissions: Mutex<Vec<Duration>>,
    sold_out_first: OnceLock<Duration>,
    endings: Mutex<BTreeMap<VisitEnd, u64>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            arrived: Count::default(),
            waiting: Count::default(),
            admitted: Count::default(),
            accepted: Count::default(),
            allocated: Count::default(),
            rejected: Count::default(),
            tickets: Count::default(),
            ended: Count::default(),
            reconnects: Count::default(),
            went_up: Count::default(),
            lapses_seen: Count::default(),
            times: Mutex::default(),
            moments: Mutex::default(),
            admissions: Mutex::default(),
            sold_out_first: OnceLock::new(),
            endings: Mutex::default(),
        }
    }
}

impl Tally {
    /// Time since the crowd set out.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes how long a step took since `from`.
    pub fn took(&self, step: Step, from: Instant) {
        let took = from.elapsed();
        let mut times = lock(&self.times);
        let second = u32::try_from(self.elapsed().as_secs()).unwrap_or(u32::MAX);
        times.entry(step).or_default().note(second, took);
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
        lock(&self.admissions).push(self.elapsed());
    }

    /// Notes that a visitor in the line was told that the show is sold out.
    pub fn hears_sold_out(&self) {
        self.sold_out_first.get_or_init(|| self.elapsed());
    }

    /// Time from the start until a visitor in the line first heard that the show is sold out.
    pub fn sold_out_first(&self) -> Option<Duration> {
        self.sold_out_first.get().copied()
    }

    /// Notes how a visit ended.
    pub fn end(&self, ending: VisitEnd) {
        self.ended.up();
        let mut endings = lock(&self.endings);
        if endings.len() >= ENDINGS_MAX && !endings.contains_key(&ending) {
            *endings.entry(VisitEnd::Failed("in other ways".into())).or_default() += 1;
        } else {
            *endings.entry(ending).or_default() += 1;
        }
    }

    /// Every step's times so far.
    pub fn times(&self) -> BTreeMap<Step, Times> {
        lock(&self.times).clone()
    }

    /// Times of admissions, from the start of the crowd.
    pub fn admissions(&self) -> Vec<Duration> {
        lock(&self.admissions).clone()
    }

    /// How visits ended so far.
    pub fn endings(&self) -> BTreeMap<VisitEnd, u64> {
        lock(&self.endings).clone()
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
