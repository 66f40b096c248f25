//! The same hall in sets and loops: slow, but obviously right.

use std::collections::{BTreeMap, BTreeSet};

use contract::SeatLabel;
use store::partitions::SeatRow;

use super::SeatMap;

/// Row and seat.
type Spot = (i32, i32);

#[derive(Clone, Debug)]
pub(crate) struct Seats {
    all: BTreeMap<Spot, SeatLabel>,
    /// Free for whoever names none.
    free: BTreeSet<Spot>,
    /// Free for whoever names them alone.
    kept_free: BTreeSet<Spot>,
    kept_back: BTreeSet<Spot>,
}

impl Seats {
    /// Rows of text: `.` free, `x` claimed, `w` free and kept back, space no seat. Row A is the front.
    pub(crate) fn drawn(rows: &[&str]) -> Self {
        let (mut all, mut free, mut kept_back) =
            (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (row, name) in rows.iter().zip('A'..) {
            for (seat, kind) in row.chars().enumerate().filter(|(_, kind)| *kind != ' ') {
                let spot = (i32::from(name as u8 - b'A'), i32::try_from(seat).unwrap());
                all.insert(spot, format!("{name}{}", seat + 1).parse().unwrap());
                match kind {
                    '.' => free.insert(spot),
                    'w' => kept_back.insert(spot),
                    _ => false,
                };
            }
        }
        Self { all, free, kept_free: kept_back.clone(), kept_back }
    }

    /// The map under test, of the same seats.
    pub(crate) fn map(&self) -> SeatMap {
        let seat = |(spot, label): (&Spot, &SeatLabel)| {
            let is_kept_back = self.kept_back.contains(spot);
            let seat = SeatRow { label: label.clone(), row: spot.0, seat: spot.1, is_kept_back };
            (seat, !self.is_free(label))
        };
        SeatMap::new(self.all.iter().map(seat).collect())
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = SeatLabel> {
        self.all.values().cloned()
    }

    pub(crate) fn in_order(&self, seats: &[SeatLabel]) -> Vec<SeatLabel> {
        self.labels().filter(|label| seats.contains(label)).collect()
    }

    pub(crate) fn n_offered(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn is_free(&self, seat: &SeatLabel) -> bool {
        self.free.iter().chain(&self.kept_free).any(|spot| self.all[spot] == *seat)
    }

    pub(crate) fn take(&mut self, seats: &[SeatLabel]) {
        self.free.retain(|spot| !seats.contains(&self.all[spot]));
        self.kept_free.retain(|spot| !seats.contains(&self.all[spot]));
    }

    pub(crate) fn give(&mut self, seats: &[SeatLabel]) {
        let given = self.all.iter().filter(|(_, label)| seats.contains(label));
        let (kept_back, others): (Vec<Spot>, Vec<Spot>) =
            given.map(|(spot, _)| *spot).partition(|spot| self.kept_back.contains(spot));
        self.free.extend(others);
        self.kept_free.extend(kept_back);
    }

    /// The hall with these seats free and all others taken.
    pub(crate) fn only(&self, seats: &[SeatLabel]) -> Self {
        let none = BTreeSet::new();
        let mut only = Self { free: none.clone(), kept_free: none, ..self.clone() };
        only.give(seats);
        only
    }

    /// Lengths of the stretches of free neighbours.
    pub(crate) fn runs(&self) -> Vec<usize> {
        let mut runs = Vec::new();
        for &(row, seat) in &self.free {
            match runs.last_mut() {
                Some(run) if self.free.contains(&(row, seat - 1)) => *run += 1,
                _ => runs.push(1),
            }
        }
        runs
    }

    /// The answer that [`SeatMap::best`] must give.
    pub(crate) fn best(&self, n: usize) -> Option<Vec<SeatLabel>> {
        if n > self.free.len() {
            return None;
        }
        let mut rest = self.clone();
        let mut chosen: BTreeSet<Spot> = BTreeSet::new();
        while chosen.len() < n {
            let mut sizes = (1..=n - chosen.len()).rev();
            let group: Vec<Spot> = sizes.find_map(|size| rest.best_together(size))?;
            rest.free.retain(|spot| !group.contains(spot));
            chosen.extend(group);
        }
        Some(chosen.iter().map(|spot| self.all[spot].clone()).collect())
    }

    fn best_together(&self, n: usize) -> Option<Vec<Spot>> {
        let n = i32::try_from(n).unwrap();
        let from = |&(row, seat): &Spot| (seat..seat + n).map(|seat| (row, seat)).collect();
        let groups = self.free.iter().map(from);
        let groups = groups.filter(|group: &Vec<Spot>| group.iter().all(|s| self.free.contains(s)));
        groups.min_by_key(|group| (self.left_alone(group), self.distance(group), group[0]))
    }

    /// The first place in the hall where a party can sit together.
    pub(crate) fn first_fit(&self, n: usize) -> Option<Vec<SeatLabel>> {
        let n = i32::try_from(n).unwrap();
        let mut groups =
            self.free.iter().map(|&(row, seat)| (seat..seat + n).map(move |s| (row, s)));
        let group = groups.find(|group| group.clone().all(|spot| self.free.contains(&spot)))?;
        Some(group.map(|spot| self.all[&spot].clone()).collect())
    }

    fn left_alone(&self, group: &[Spot]) -> usize {
        let mut rest = self.free.clone();
        rest.retain(|spot| !group.contains(spot));
        let alone = |free: &BTreeSet<Spot>, &(row, seat): &Spot| {
            !free.contains(&(row, seat - 1)) && !free.contains(&(row, seat + 1))
        };
        rest.iter().filter(|spot| alone(&rest, spot) && !alone(&self.free, spot)).count()
    }

    /// Distance from the best point, in the middle and two thirds of the way back, in half seats; a
    /// row counts as two seats.
    fn distance(&self, group: &[Spot]) -> i32 {
        let rows = || self.all.keys().map(|spot| spot.0);
        let seats = || self.all.keys().map(|spot| spot.1);
        let (front, back) = (rows().min().unwrap(), rows().max().unwrap());
        let (left, right) = (seats().min().unwrap(), seats().max().unwrap());
        let row = front + (back - front) * 2 / 3;
        let away = |spot: &Spot| (2 * spot.1 - left - right).abs() + 4 * (spot.0 - row).abs();
        group.iter().map(away).sum()
    }
}
