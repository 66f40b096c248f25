//! The promises to a crowd: every accepted booking, and the outcome its owner was told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use contract::{
    BookingId,
    booking::{Reason, Status},
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::{CallError, Client};

/// Bookings asked for at the same time when the journal is checked.
const ASKED_AT_ONCE: usize = 32;
/// The word for an outcome of which the owner heard nothing.
const NOT_HEARD: &str = "outcome not heard";

/// A final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalAnswer {
    pub status: Status,
    pub reason: Option<Reason>,
}

struct Entry {
    owner: Client,
    told: Option<FinalAnswer>,
}

/// Every accepted booking of a crowd. Bounded by the bookings the crowd sends.
#[derive(Default)]
pub struct Journal(Mutex<HashMap<BookingId, Entry>>);

/// The result of asking again for every accepted booking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recheck {
    /// Outcomes by word.
    pub outcomes: BTreeMap<String, u64>,
    /// Bookings whose outcome no visitor had heard before.
    pub late: u64,
    /// Bookings that are still QUEUED, or unknown to the server.
    pub lost: u64,
    /// Bookings with another outcome than the owner was told.
    pub changed: u64,
    /// Bookings that could not be asked for.
    pub unasked: u64,
}

impl Recheck {
    /// The result for `n` bookings that nobody can ask for.
    pub(crate) fn unasked(n: u64) -> Self {
        let outcomes = BTreeMap::from([(NOT_HEARD.to_owned(), n)]);
        Self { outcomes, unasked: n, ..Self::default() }
    }

    /// Adds the result for other bookings.
    pub(crate) fn add(&mut self, other: Self) {
        for (word, n) in other.outcomes {
            *self.outcomes.entry(word).or_default() += n;
        }
        self.late += other.late;
        self.lost += other.lost;
        self.changed += other.changed;
        self.unasked += other.unasked;
    }
}

impl Journal {
    /// Notes an accepted booking; returns whether it is new.
    pub fn accepted(&self, id: BookingId, owner: &Client) -> bool {
        let mut entries = self.entries();
        let known = entries.contains_key(&id);
        entries.entry(id).or_insert_with(|| Entry { owner: owner.clone(), told: None });
        !known
    }

    /// Notes what the owner of a booking was told.
    pub fn note_answer(&self, id: BookingId, told: FinalAnswer) {
        if let Some(entry) = self.entries().get_mut(&id) {
            entry.told = Some(told);
        }
    }

    /// How many owners were told each outcome.
    fn outcomes(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for entry in self.entries().values() {
            let word = entry.told.map_or(NOT_HEARD, |told| match (told.status, told.reason) {
                (Status::Rejected, Some(reason)) => reason.as_str(),
                (Status::Rejected, None) => "without a reason",
                (Status::Allocated, _) => "ALLOCATED",
                (Status::Queued, _) => "QUEUED",
            });
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        counts
    }

    /// Asks again for every accepted booking: each must have an outcome that has not changed.
    pub async fn recheck(&self) -> Recheck {
        let asked: Vec<(BookingId, Client, Option<FinalAnswer>)> = self
            .entries()
            .iter()
            .map(|(id, entry)| (*id, entry.owner.clone(), entry.told))
            .collect();
        let answers = stream::iter(asked)
            .map(|(id, owner, told)| async move { (id, told, owner.booking(id, 10).await) });
        let mut seen = Recheck::default();
        let mut answers = std::pin::pin!(answers.buffer_unordered(ASKED_AT_ONCE));
        while let Some((id, told, answer)) = answers.next().await {
            match answer {
                Ok(now) if now.status == Status::Queued => seen.lost += 1,
                Ok(now) => {
                    let now = FinalAnswer { status: now.status, reason: now.reason };
                    match told {
                        None => seen.late += 1,
                        Some(before) if before != now => seen.changed += 1,
                        Some(_) => {}
                    }
                    if told.is_none() {
                        self.note_answer(id, now);
                    }
                }
                Err(CallError::Refused(problem)) if problem.status == 404 => seen.lost += 1,
                Err(_) => seen.unasked += 1,
            }
        }
        seen.outcomes = self.outcomes();
        seen
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<BookingId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
