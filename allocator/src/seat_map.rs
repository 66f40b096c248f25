//! The seats of one tier in memory: which are free, and which free ones go well together. Pure.
//!
//! A copy is cheap, because copies share what never changes. The best position of a party is read
//! from an index of blocks, so that deciding does not slow down as the hall grows.

#[cfg(test)]
pub(crate) mod naive;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use contract::SeatLabel;
use store::partitions::SeatRow;

/// Seats of a partition, in the order of the hall.
#[derive(Clone, Debug)]
pub(crate) struct SeatMap {
    hall: Arc<Hall>,
    free: Vec<bool>,
    n_offered: usize,
    /// For each size of party that was asked for, the best position that begins in each block of
    /// seats. Of bounded size: a request names at most 20 seats.
    positions: BTreeMap<usize, Vec<Option<Position>>>,
}

/// What does not change while the show exists.
#[derive(Debug)]
struct Hall {
    labels: Vec<SeatLabel>,
    index: HashMap<SeatLabel, usize>,
    /// Each seat's distance from the middle of the hall, in half seats.
    distance: Vec<u32>,
    /// Whether the next seat in `labels` is the seat's right neighbour, with no aisle or end of the
    /// row between.
    joined: Vec<bool>,
    /// Whether a seat is only for whoever names it: a wheelchair place, or the one beside it.
    kept_back: Vec<bool>,
}

/// Neighbouring seats for a party. The smallest value is the best; fields are compared in this
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    /// Free seats that would be left without a free neighbour.
    alone: u32,
    distance: u32,
    at: usize,
}

/// One row further from the best one is as bad as this many seats further from the middle.
const ROW_WEIGHT: u32 = 2;
/// Seats in a block, whose best position is found again when one of them changes. Small in tests,
/// so that small halls have many blocks.
const BLOCK: usize = if cfg!(test) { 3 } else { 64 };

impl SeatMap {
    /// A map of these seats, sorted by row and seat; `true` marks a claimed one.
    pub(crate) fn new(seats: Vec<(SeatRow, bool)>) -> Self {
        let free: Vec<bool> = seats.iter().map(|(_, claimed)| !claimed).collect();
        let seats: Vec<SeatRow> = seats.into_iter().map(|(seat, _)| seat).collect();
        let offered = seats.iter().zip(&free).filter(|(seat, free)| **free && !seat.is_kept_back);
        let n_offered = offered.count();
        Self { hall: Arc::new(Hall::new(seats)), free, n_offered, positions: BTreeMap::new() }
    }

    /// How many seats are free for whoever names none.
    pub(crate) fn n_offered(&self) -> usize {
        self.n_offered
    }

    /// Whether the seat is free for whoever names none.
    fn is_offered(&self, seat: usize) -> bool {
        self.free[seat] && !self.hall.kept_back[seat]
    }

    /// Whether the seat is of this tier at all.
    pub(crate) fn knows(&self, seat: &SeatLabel) -> bool {
        self.hall.index.contains_key(seat)
    }

    /// Whether the seat is free; an unknown one is not.
    pub(crate) fn is_free(&self, seat: &SeatLabel) -> bool {
        self.hall.index.get(seat).is_some_and(|&i| self.free[i])
    }

    /// These seats in the order of the hall; unknown ones are left out.
    pub(crate) fn in_order(&self, seats: &[SeatLabel]) -> Vec<SeatLabel> {
        let mut known = self.known(seats);
        known.sort_unstable();
        known.into_iter().map(|i| self.hall.labels[i].clone()).collect()
    }

    /// Takes seats. Taken and unknown seats stay as they are.
    pub(crate) fn claim(&mut self, seats: &[SeatLabel]) {
        self.set(&self.known(seats), false);
    }

    /// Gives seats back.
    pub(crate) fn free(&mut self, seats: &[SeatLabel]) {
        self.set(&self.known(seats), true);
    }

    /// The best free seats for a party of `n`; `None` if fewer are free. Seats that are kept back are
    /// as good as taken.
    ///
    /// If a row has room, the seats are side by side: the position that leaves the fewest single
    /// seats without a free neighbour; of those the nearest to the middle; of those the first. If
    /// no row has room, the party is split into as few groups as possible, each placed by that rule.
    pub(crate) fn best(&mut self, n: usize) -> Option<Vec<SeatLabel>> {
        if n == 0 || n > self.n_offered {
            return None;
        }
        let seats = match self.best_place(n) {
            Some(at) => (at..at + n).collect(),
            None => self.best_apart(n),
        };
        Some(seats.into_iter().map(|i| self.hall.labels[i].clone()).collect())
    }

    /// The largest group that finds a position, then the same for the rest.
    fn best_apart(&mut self, n: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(n);
        let mut size = n - 1;
        while chosen.len() < n {
            size = size.min(n - chosen.len());
            match self.best_place(size) {
                Some(at) => {
                    chosen.extend(at..at + size);
                    self.set(&chosen[chosen.len() - size..], false);
                }
                None => size -= 1,
            }
        }
        self.set(&chosen, true);
        chosen.sort_unstable();
        chosen
    }

    /// The best position for `n` neighbours, if there is one.
    fn best_place(&mut self, n: usize) -> Option<usize> {
        if !self.positions.contains_key(&n) {
            let blocks = 0..self.free.len().div_ceil(BLOCK);
            let positions = blocks.map(|block| self.best_in(block, n)).collect();
            self.positions.insert(n, positions);
        }
        self.positions[&n].iter().flatten().min().map(|position| position.at)
    }

    fn best_in(&self, block: usize, n: usize) -> Option<Position> {
        let end = self.free.len().min((block + 1) * BLOCK);
        (block * BLOCK..end).filter_map(|at| self.position(at, n)).min()
    }

    fn position(&self, at: usize, n: usize) -> Option<Position> {
        let last = at + n - 1;
        let fits = last < self.free.len()
            && (at..=last).all(|seat| self.is_offered(seat))
            && self.hall.joined[at..last].iter().all(|&joined| joined);
        let left = || self.goes_left(at) && !self.goes_left(at - 1);
        let right = || self.goes_right(last) && !self.goes_right(last + 1);
        fits.then(|| Position {
            alone: u32::from(left()) + u32::from(right()),
            distance: self.hall.distance[at..=last].iter().sum(),
            at,
        })
    }

    /// Whether the left neighbour is free.
    fn goes_left(&self, seat: usize) -> bool {
        seat > 0 && self.hall.joined[seat - 1] && self.is_offered(seat - 1)
    }

    /// Whether the right neighbour is free.
    fn goes_right(&self, seat: usize) -> bool {
        self.hall.joined[seat] && self.is_offered(seat + 1)
    }

    fn known(&self, seats: &[SeatLabel]) -> Vec<usize> {
        seats.iter().filter_map(|seat| self.hall.index.get(seat).copied()).collect()
    }

    fn set(&mut self, seats: &[usize], free: bool) {
        let mut changed = seats.to_vec();
        changed.retain(|&seat| std::mem::replace(&mut self.free[seat], free) != free);
        let offered = changed.iter().filter(|&&seat| !self.hall.kept_back[seat]).count();
        if free {
            self.n_offered += offered;
        } else {
            self.n_offered -= offered;
        }
        let mut positions = std::mem::take(&mut self.positions);
        for (&n, best) in &mut positions {
            // The value of a position depends on its seats and on two more on each side.
            let touched = |&seat: &usize| {
                let last = (seat + 2).min(self.free.len() - 1);
                seat.saturating_sub(n + 1) / BLOCK..=last / BLOCK
            };
            let mut blocks: Vec<usize> = changed.iter().flat_map(touched).collect();
            blocks.sort_unstable();
            blocks.dedup();
            for block in blocks {
                best[block] = self.best_in(block, n);
            }
        }
        self.positions = positions;
    }
}

impl Hall {
    fn new(seats: Vec<SeatRow>) -> Self {
        let side_by_side =
            |pair: &[SeatRow]| pair[0].row == pair[1].row && pair[0].seat + 1 == pair[1].seat;
        let joined = seats.windows(2).map(side_by_side).chain([false]).collect();
        let distance = distances(&seats);
        let kept_back = seats.iter().map(|seat| seat.is_kept_back).collect();
        let labels: Vec<SeatLabel> = seats.into_iter().map(|seat| seat.label).collect();
        let index = labels.iter().enumerate().map(|(i, label)| (label.clone(), i)).collect();
        Self { labels, index, distance, joined, kept_back }
    }
}

/// The best position is in the middle, two thirds of the way back.
fn distances(seats: &[SeatRow]) -> Vec<u32> {
    let span = |of: fn(&SeatRow) -> i32| {
        let values = seats.iter().map(of);
        (values.clone().min().unwrap_or(0), values.max().unwrap_or(0))
    };
    let (front, back) = span(|s| s.row);
    let (left, right) = span(|s| s.seat);
    let best_row = front + (back - front) * 2 / 3;
    // Doubled, so that the middle of an even row is exact.
    let middle = left + right;
    seats
        .iter()
        .map(|s| {
            (2 * s.seat - middle).unsigned_abs()
                + ROW_WEIGHT * 2 * (s.row - best_row).unsigned_abs()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{naive::Seats, *};

    fn best(rows: &[&str], n: usize) -> String {
        let seats = Seats::drawn(rows).map().best(n);
        let words =
            |seats: Vec<SeatLabel>| seats.iter().map(ToString::to_string).collect::<Vec<_>>();
        seats.map_or("none".into(), |seats| words(seats).join(" "))
    }

    #[test]
    fn a_party_sits_together_in_the_middle() {
        assert_eq!(best(&["......", "......", "......", "......"], 2), "C3 C4");
    }

    #[test]
    fn no_seat_is_left_alone_if_it_can_be_helped() {
        assert_eq!(best(&["x...x", "x..xx"], 2), "B2 B3");
        assert_eq!(best(&["....."], 2), "A1 A2", "a three in the middle would leave two alone");
        assert_eq!(best(&["....."], 4), "A1 A2 A3 A4", "one stays alone whatever is done");
        let gap = " ".repeat(600);
        let far = format!("..{gap}...{gap}x");
        assert_eq!(best(&[&far], 2), "A1 A2", "however far from the middle");
    }

    #[test]
    fn places_for_wheelchairs_are_left_to_whoever_names_them() {
        assert_eq!(best(&["..w.."], 1), "A2", "beside it, not in it");
        assert_eq!(best(&["wwww", ".x.."], 4), "none");
        let mut map = Seats::drawn(&["w."]).map();
        let places: Vec<SeatLabel> = vec!["A1".parse().unwrap()];
        assert!(map.is_free(&places[0]));
        map.claim(&places);
        assert!(!map.is_free(&places[0]));
        assert_eq!(map.n_offered(), 1);
    }

    #[test]
    fn an_aisle_separates() {
        assert_eq!(best(&[".. .."], 2), "A1 A2");
        assert_eq!(best(&[". .. ."], 2), "A3 A4");
    }

    #[test]
    fn a_party_too_big_for_any_row_is_split_as_little_as_can_be() {
        assert_eq!(best(&["..x..", "x...x"], 4), "A2 B2 B3 B4");
        assert_eq!(best(&["...", "..."], 7), "none");
        assert_eq!(best(&["xxx"], 1), "none");
    }

    /// Sells a cinema to parties of two to five until one finds no seats together, and counts the
    /// seats that are left alone.
    fn left_alone(parties: u64, best: bool) -> usize {
        let row = format!("{0}  {1}  {0}", ".".repeat(9), ".".repeat(19));
        let mut seats = Seats::drawn(&[row.as_str(); 24]);
        let (mut map, mut random) = (seats.map(), parties);
        loop {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let n = 2 + usize::try_from(random >> 33).unwrap() % 4;
            // A party that has to be split goes elsewhere.
            let Some(together) = seats.first_fit(n) else {
                return seats.runs().into_iter().filter(|&run| run == 1).count();
            };
            let chosen = if best { map.best(n).unwrap() } else { together };
            seats.take(&chosen);
            map.claim(&chosen);
        }
    }

    #[test]
    fn of_five_seats_that_first_fit_leaves_alone_four_and_more_are_sold_in_company() {
        let sum = |best| (0..20).map(|parties| left_alone(parties, best)).sum::<usize>();
        let (ours, first_fit) = (sum(true), sum(false));
        assert!(ours * 5 <= first_fit, "{ours} alone, and {first_fit} with the first that fits");
    }

    fn hall() -> impl Strategy<Value = Seats> {
        // Rows with aisles, or one long row, as general admission has.
        let rows = prop_oneof![
            proptest::collection::vec("[.xw ]{1,12}", 1..6),
            proptest::collection::vec("[.]{8,24}[.xw][.]{1,8}", 1),
        ];
        rows.prop_map(|rows| {
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            Seats::drawn(&rows)
        })
    }

    proptest! {
        #[test]
        fn the_best_seats_are_those_a_look_at_every_place_finds(
            mut seats in hall(),
            turns in proptest::collection::vec((1usize..9, 0usize..40, any::<bool>()), 1..20),
        ) {
            let mut map = seats.map();
            for (n, at, free) in turns {
                let found = map.best(n);
                prop_assert_eq!(&found, &seats.best(n));
                prop_assert_eq!(&found, &map.best(n), "asking changes nothing");
                seats.take(found.as_deref().unwrap_or_default());
                map.claim(found.as_deref().unwrap_or_default());
                let some: Vec<SeatLabel> = seats.labels().skip(at).take(n).collect();
                if free {
                    seats.give(&some);
                    map.free(&some);
                } else {
                    seats.take(&some);
                    map.claim(&some);
                }
                prop_assert!(seats.labels().all(|seat| map.is_free(&seat) == seats.is_free(&seat)));
                prop_assert_eq!(map.n_offered(), seats.n_offered());
            }
        }

        #[test]
        fn a_party_sits_together_or_in_as_few_groups_as_can_be_and_leaves_alone_as_few_as_can_be(
            mut seats in hall(),
            n in 1usize..9,
        ) {
            let before = seats.runs();
            let Some(found) = seats.map().best(n) else {
                prop_assert!(seats.n_offered() < n);
                return Ok(());
            };
            prop_assert_eq!(found.iter().collect::<std::collections::HashSet<_>>().len(), n);
            prop_assert!(found.iter().all(|seat| seats.is_free(seat)));
            let (mut longest, mut room) = (before.clone(), 0);
            longest.sort_unstable_by(|a, b| b.cmp(a));
            let fewest = longest.iter().take_while(|&&run| {
                let too_little = room < n;
                room += run;
                too_little
            });
            let fewest = fewest.count();
            prop_assert_eq!(seats.only(&found).runs().len(), fewest, "groups");
            if fewest == 1 {
                seats.take(&found);
                let alone = |runs: &[usize]| runs.iter().filter(|&&run| run == 1).count();
                let made = alone(&seats.runs()).saturating_sub(alone(&before));
                // In a run of n, or of n + 2 and more, no seat need be left alone.
                let avoidable = before.iter().any(|&run| run == n || run >= n + 2);
                prop_assert_eq!(made > 0, !avoidable);
            }
        }
    }
}
