//! What is checked, and what is found.

use std::{collections::BTreeMap, fmt};

use contract::{BookingId, place_ticket::Place};
use store::Pool;

use crate::{arena::Arena, fleet::Fleet, probe::Probe, sale::Hall, story::Story};

/// Most examples kept of one kind of finding.
const EXAMPLES_MAX: usize = 3;

/// Violations, counted by kind, with some examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(BTreeMap<&'static str, (u64, Vec<String>)>);

impl Findings {
    /// Notes one case of a kind.
    pub fn add(&mut self, kind: &'static str, example: impl Into<String>) {
        let (count, examples) = self.0.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(example.into());
        }
    }

    /// Notes many cases of a kind at once.
    pub fn add_many(&mut self, kind: &'static str, count: i64, example: impl Into<String>) {
        if let Ok(count @ 1..) = u64::try_from(count) {
            self.add(kind, example);
            if let Some((n, _)) = self.0.get_mut(kind) {
                *n += count - 1;
            }
        }
    }

    pub fn is_clean(&self) -> bool {
        self.0.is_empty()
    }

    /// The kinds that were found.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (count, examples)) in &self.0 {
            writeln!(f, "  {count:>5} x {kind}")?;
            for example in examples {
                writeln!(f, "          {example}")?;
            }
        }
        Ok(())
    }
}

/// The run that is checked.
pub struct Scene<'a> {
    pub arena: &'a Arena,
    pub fleet: &'a Fleet,
    pub pool: &'a Pool,
    pub halls: &'a [Hall],
    pub stories: &'a [Story],
    /// Bookings that break a batch: each must be refused, and harm no other booking.
    pub poison: &'a [BookingId],
    /// Every place in the tickets that the line gave out.
    pub places: &'a [Place],
    pub probe: &'a Probe,
    /// Whether PostgreSQL's clock jumped, so that its times give no order.
    pub steps_clock: bool,
}

impl Scene<'_> {
    /// The bookings that clients were promised an outcome for.
    pub fn accepted(&self) -> Vec<BookingId> {
        let accepted = self.stories.iter().filter(|story| story.accepted);
        accepted.flat_map(|story| story.ids.iter().copied()).collect()
    }

    pub(super) fn shows(&self) -> Vec<uuid::Uuid> {
        self.halls.iter().map(|hall| hall.show.0).collect()
    }
}
