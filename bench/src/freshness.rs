//! How old the numbers on the screens are. Pure.
//!
//! The age of a number is the time since it stopped being true. What is true follows from the line
//! at one moment and from who left it after that, by Redis's clock: a screen that shows 1,233 ahead
//! while 1,233 are ahead is fresh, however long it has shown that. Each screen is looked at every
//! tenth of a second, so that the wait between two frames counts like the delay of a frame.

use std::collections::HashMap;

use contract::TicketId;
use loadtest::stampede::{Sitting, Trail};
use serde::Serialize;

/// Time between two looks at a screen.
const LOOK_EVERY_MS: u64 = 100;
/// Highest age that is counted; older ages count as this.
const AGE_MS_MAX: usize = 60_000;

/// The line at one moment, and the ranks that left it after that.
pub(crate) struct Truth {
    /// The moment.
    at_ms: u64,
    /// How many were ahead of each ticket, and its rank.
    places: HashMap<TicketId, (u64, u64)>,
    /// Milliseconds and ranks, in order of time.
    gone: Vec<(u64, u64)>,
}

impl Truth {
    /// The truth about a line, given as its tickets in order, each with its rank.
    pub(crate) fn new(at_ms: u64, line: Vec<(TicketId, u64)>, gone: Vec<(u64, u64)>) -> Self {
        let places = (0..).zip(line).map(|(ahead, (ticket, rank))| (ticket, (ahead, rank)));
        Self { at_ms, places: places.collect(), gone }
    }

    /// The truth about one visitor; `None` for a visitor who joined later.
    fn of(&self, ticket: TicketId) -> Option<Descent> {
        let (ahead, rank) = *self.places.get(&ticket)?;
        let before = self.gone.iter().filter(|(_, gone)| *gone < rank);
        let own = self.gone.iter().find(|(_, gone)| *gone == rank);
        Some(Descent {
            from_ms: self.at_ms,
            ahead,
            drops: before.map(|(at, _)| *at).collect(),
            own_end_ms: own.map(|(at, _)| *at),
        })
    }
}

/// How the number of visitors ahead of one visitor went down.
struct Descent {
    from_ms: u64,
    ahead: u64,
    /// The moments at which the number fell by one.
    drops: Vec<u64>,
    /// When the visitor was admitted or left.
    own_end_ms: Option<u64>,
}

impl Descent {
    fn ahead_at(&self, ms: u64) -> u64 {
        self.ahead - self.drops.partition_point(|drop| *drop <= ms) as u64
    }

    /// When the number `shown` became true; `None` if there were always more ahead.
    fn true_from(&self, shown: u64) -> Option<u64> {
        match self.ahead.checked_sub(shown) {
            None | Some(0) => Some(self.from_ms),
            Some(fallen) => self.drops.get(usize::try_from(fallen - 1).ok()?).copied(),
        }
    }

    /// When the number `shown` stopped being true; `None` if it did not.
    fn true_until(&self, shown: u64) -> Option<u64> {
        let fell = match self.ahead.checked_sub(shown) {
            None => Some(self.from_ms),
            Some(fallen) => self.drops.get(usize::try_from(fallen).ok()?).copied(),
        };
        match (fell, self.own_end_ms) {
            (Some(fell), Some(end)) => Some(fell.min(end)),
            (fell, end) => fell.or(end),
        }
    }
}

/// Ages of many numbers on many screens.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// Ages for visitors who were among the first 1 % of the line at the time of the look.
    front: Ages,
    /// Ages for visitors picked at random.
    everyone: Ages,
    /// Frames that showed fewer visitors ahead than there were.
    too_few: u64,
}

/// How old the shown numbers were, for the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) front: Option<AgeSummary>,
    pub(crate) everyone: Option<AgeSummary>,
    pub(crate) frames_with_too_few_ahead: u64,
}

/// Ages in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AgeSummary {
    pub(crate) looks: u64,
    pub(crate) p50_ms: usize,
    pub(crate) p99_ms: usize,
    pub(crate) max_ms: usize,
}

impl Freshness {
    /// Adds the looks at the screen of one trail.
    pub(crate) fn add(&mut self, trail: &Trail, truth: &Truth) {
        let Some(descent) = truth.of(trail.ticket) else { return };
        let front = (truth.places.len() as u64).div_ceil(100);
        for sitting in &trail.sittings {
            self.add_sitting(sitting, &descent, front, trail.drawn);
        }
    }

    fn add_sitting(&mut self, sitting: &Sitting, descent: &Descent, front: u64, drawn: bool) {
        for (n, (from_ms, shown)) in sitting.shown.iter().enumerate() {
            if descent.true_from(*shown).is_none_or(|since| since > *from_ms) {
                self.too_few += 1;
            }
            let until_ms = sitting.shown.get(n + 1).map_or(sitting.until_ms, |(next, _)| *next);
            let outdated_ms = descent.true_until(*shown).unwrap_or(u64::MAX);
            // All screens are looked at in the same moments, which do not depend on the frames.
            let looks = (from_ms.next_multiple_of(LOOK_EVERY_MS)..until_ms)
                .step_by(usize::try_from(LOOK_EVERY_MS).expect("100 fits"));
            for look_ms in looks {
                let age_ms = look_ms.saturating_sub(outdated_ms);
                if descent.ahead_at(look_ms) < front {
                    self.front.add(age_ms);
                }
                if drawn {
                    self.everyone.add(age_ms);
                }
            }
        }
    }

    /// The figures of all looks.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            front: self.front.summary(),
            everyone: self.everyone.summary(),
            frames_with_too_few_ahead: self.too_few,
        }
    }
}

/// How often each age was seen, indexed by the age in milliseconds.
#[derive(Debug, Default)]
struct Ages(Vec<u64>);

impl Ages {
    fn add(&mut self, age_ms: u64) {
        let at = usize::try_from(age_ms).unwrap_or(usize::MAX).min(AGE_MS_MAX);
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        self.0[at] += 1;
    }

    fn summary(&self) -> Option<AgeSummary> {
        let looks: u64 = self.0.iter().sum();
        let rank = |percent: u64| {
            let mut left = (looks * percent).div_ceil(100).max(1);
            self.0.iter().position(|n| {
                let reached = left <= *n;
                left = left.saturating_sub(*n);
                reached
            })
        };
        Some(AgeSummary { looks, p50_ms: rank(50)?, p99_ms: rank(99)?, max_ms: rank(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of 300 in which the first leaves each second, from the first second on.
    fn truth() -> (Vec<TicketId>, Truth) {
        let tickets: Vec<TicketId> = (0..300).map(|_| TicketId::new()).collect();
        let line = (1..).zip(&tickets).map(|(rank, ticket)| (*ticket, rank)).collect();
        let gone = (1..=100).map(|n| (1_000_000 + n * 1000, n)).collect();
        (tickets, Truth::new(1_000_000, line, gone))
    }

    fn trail(ticket: TicketId, shown: &[(u64, u64)], until_ms: u64) -> Trail {
        let shown = shown.iter().map(|(at, ahead)| (1_000_000 + at, *ahead)).collect();
        let sittings = vec![Sitting { shown, until_ms: 1_000_000 + until_ms }];
        Trail { ticket, drawn: true, sittings }
    }

    fn summary(trail: &Trail, truth: &Truth) -> Summary {
        let mut freshness = Freshness::default();
        freshness.add(trail, truth);
        freshness.summary()
    }

    #[test]
    fn a_number_is_as_old_as_the_time_since_it_was_true() {
        let (tickets, truth) = truth();
        // 200 ahead until the first second is over; the next number comes at 3.5 s.
        let told = trail(tickets[200], &[(0, 200), (3_500, 197)], 4_000);
        let told = summary(&told, &truth);
        let everyone = told.everyone.unwrap();
        assert_eq!(everyone.looks, 40);
        assert_eq!(everyone.max_ms, 2_400, "the last look before the frame, at 3.4 s");
        assert_eq!((told.front, told.frames_with_too_few_ahead), (None, 0));
    }

    #[test]
    fn a_number_that_is_still_true_is_fresh_however_old_its_frame() {
        let (tickets, mut truth) = truth();
        truth.gone.clear();
        let told = summary(&trail(tickets[200], &[(0, 200)], 50_000), &truth);
        assert_eq!(told.everyone.unwrap().max_ms, 0);
    }

    #[test]
    fn a_number_that_runs_ahead_of_the_truth_is_not_fresh_but_wrong() {
        let (tickets, truth) = truth();
        let told = summary(&trail(tickets[200], &[(500, 199), (1_500, 198)], 2_500), &truth);
        assert_eq!(told.frames_with_too_few_ahead, 2);
        let kept = summary(&trail(tickets[200], &[(1_000, 199), (2_000, 198)], 2_500), &truth);
        assert_eq!(kept.frames_with_too_few_ahead, 0);
    }

    #[test]
    fn the_front_is_who_stands_there_at_that_moment_and_being_let_in_ends_the_last_number() {
        let (tickets, truth) = truth();
        // Fourth in the line of 300: in its first hundredth from the first second on, let in at 4
        // s.
        let shown = [(0, 3), (1_100, 2), (2_000, 1), (3_000, 0)];
        let front = summary(&trail(tickets[3], &shown, 4_500), &truth).front.unwrap();
        assert_eq!((front.looks, front.max_ms), (35, 400));
    }

    #[test]
    fn time_between_two_connections_is_nobodys_age() {
        let (tickets, truth) = truth();
        let mut told = trail(tickets[200], &[(0, 200)], 500);
        told.sittings.extend(trail(tickets[200], &[(20_000, 180)], 20_500).sittings);
        assert_eq!(summary(&told, &truth).everyone.unwrap().max_ms, 0);
    }

    #[test]
    fn who_joined_later_and_who_has_no_looks_is_left_out() {
        let (_, truth) = truth();
        let told = summary(&trail(TicketId::new(), &[(0, 5)], 500), &truth);
        assert_eq!((told.front, told.everyone), (None, None));
    }
}
