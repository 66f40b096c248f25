//! The seats of one tier in memory: which are free, and which free ones go well together. Pure.

use std::collections::HashMap;

use contract::SeatLabel;
use store::partitions::SeatRow;

/// Seats of a partition, in the order of the hall.
#[derive(Clone, Debug)]
pub(crate) struct SeatMap {
    seats: Vec<SeatRow>,
    index: HashMap<SeatLabel, usize>,
    /// Lower is better: distance from the middle of the hall, in seats.
    distance: Vec<u32>,
    /// Half-open ranges of `seats`, one a row.
    rows: Vec<(usize, usize)>,
    free: Vec<bool>,
    n_free: usize,
}

/// A pair of seats two rows apart sits as badly as one two seats from the middle.
const ROW_WEIGHT: u32 = 2;
/// Leaving one seat alone between others costs as much as sitting this far from the middle.
const STRANDED_COST: u32 = 1_000;

impl SeatMap {
    /// A map of these seats, sorted by row and seat; `true` marks a claimed one.
    pub(crate) fn new(seats: Vec<(SeatRow, bool)>) -> Self {
        let free: Vec<bool> = seats.iter().map(|(_, claimed)| !claimed).collect();
        let seats: Vec<SeatRow> = seats.into_iter().map(|(seat, _)| seat).collect();
        let index = seats.iter().enumerate().map(|(i, s)| (s.label.clone(), i)).collect();
        let n_free = free.iter().filter(|free| **free).count();
        Self { distance: distances(&seats), rows: rows(&seats), seats, index, free, n_free }
    }

    /// How many seats are free.
    #[cfg(test)]
    pub(crate) fn n_free(&self) -> usize {
        self.n_free
    }

    /// Whether the seat is of this tier at all.
    pub(crate) fn knows(&self, seat: &SeatLabel) -> bool {
        self.index.contains_key(seat)
    }

    /// Whether the seat is free; an unknown one is not.
    pub(crate) fn is_free(&self, seat: &SeatLabel) -> bool {
        self.index.get(seat).is_some_and(|&i| self.free[i])
    }

    /// Takes seats. Those that are taken or unknown stay as they are.
    pub(crate) fn claim(&mut self, seats: &[SeatLabel]) {
        self.set(seats, false);
    }

    /// Gives seats back.
    pub(crate) fn free(&mut self, seats: &[SeatLabel]) {
        self.set(seats, true);
    }

    fn set(&mut self, seats: &[SeatLabel], free: bool) {
        for seat in seats {
            if let Some(&i) = self.index.get(seat)
                && self.free[i] != free
            {
                self.free[i] = free;
                if free { self.n_free += 1 } else { self.n_free -= 1 }
            }
        }
    }

    /// The best free seats for a party of `n`: side by side where a row has the room, close to the
    /// middle, leaving no single seat alone if it can be helped. `None` where fewer are free.
    pub(crate) fn best(&self, n: usize) -> Option<Vec<SeatLabel>> {
        if n == 0 || n > self.n_free {
            return None;
        }
        let together = self.best_together(n);
        let chosen = together.unwrap_or_else(|| self.best_apart(n));
        Some(chosen.into_iter().map(|i| self.seats[i].label.clone()).collect())
    }

    fn best_together(&self, n: usize) -> Option<Vec<usize>> {
        let windows = self.runs().filter(|run| run.1 - run.0 >= n).flat_map(|(start, end)| {
            (start..=end - n).map(move |at| {
                let alone = u32::from(at - start == 1) + u32::from(end - (at + n) == 1);
                (at, alone)
            })
        });
        let scored = windows.map(|(at, alone)| {
            let distance: u32 = self.distance[at..at + n].iter().sum();
            (distance + alone * STRANDED_COST, at)
        });
        scored.min().map(|(_, at)| (at..at + n).collect())
    }

    /// A party that no row has room for, in as few groups as the free runs allow.
    fn best_apart(&self, n: usize) -> Vec<usize> {
        let mut runs: Vec<(usize, usize)> = self.runs().collect();
        runs.sort_by_key(|&(start, end)| (usize::MAX - (end - start), self.distance[start], start));
        let mut chosen: Vec<usize> =
            runs.into_iter().flat_map(|(start, end)| start..end).take(n).collect();
        chosen.sort_unstable();
        chosen
    }

    /// Longest stretches of free neighbours, as half-open ranges.
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rows.iter().flat_map(move |&(start, end)| {
            let mut at = start;
            std::iter::from_fn(move || {
                while at < end && !self.free[at] {
                    at += 1;
                }
                if at == end {
                    return None;
                }
                let first = at;
                at += 1;
                while at < end && self.free[at] && self.adjacent(at - 1, at) {
                    at += 1;
                }
                Some((first, at))
            })
        })
    }

    fn adjacent(&self, left: usize, right: usize) -> bool {
        self.seats[left].seat + 1 == self.seats[right].seat
    }
}

fn rows(seats: &[SeatRow]) -> Vec<(usize, usize)> {
    let mut rows = Vec::new();
    let mut start = 0;
    for row in seats.chunk_by(|a, b| a.row == b.row) {
        rows.push((start, start + row.len()));
        start += row.len();
    }
    rows
}

/// The best place is in the middle, two thirds of the way back.
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

    use super::*;

    /// Rows of text: `.` free, `x` claimed, space no seat.
    fn map(rows: &[&str]) -> SeatMap {
        let mut seats = Vec::new();
        for (r, row) in rows.iter().enumerate() {
            for (s, kind) in row.bytes().enumerate().filter(|(_, kind)| *kind != b' ') {
                let label = format!("{}{}", char::from(b'A' + u8::try_from(r).unwrap()), s + 1);
                let (row, seat) = (i32::try_from(r).unwrap(), i32::try_from(s).unwrap());
                seats.push((SeatRow { label: label.parse().unwrap(), row, seat }, kind == b'x'));
            }
        }
        SeatMap::new(seats)
    }

    fn best(map: &SeatMap, n: usize) -> String {
        let seats =
            map.best(n).map(|seats| seats.iter().map(ToString::to_string).collect::<Vec<_>>());
        seats.map_or("none".into(), |seats| seats.join(" "))
    }

    #[test]
    fn a_party_sits_together_in_the_middle() {
        assert_eq!(best(&map(&["......", "......", "......", "......"]), 2), "C3 C4");
    }

    #[test]
    fn no_seat_is_left_alone_if_it_can_be_helped() {
        // The two middle seats of five would strand nobody's neighbour only at an end.
        assert_eq!(best(&map(&["....."]), 4), "A1 A2 A3 A4".to_owned());
        assert_eq!(best(&map(&["x...x", "x..xx"]), 2), "B2 B3");
    }

    #[test]
    fn an_aisle_separates() {
        assert_eq!(best(&map(&[".. .."]), 2), "A1 A2");
        assert_eq!(best(&map(&[". .. ."]), 2), "A3 A4");
    }

    #[test]
    fn a_party_too_big_for_any_row_is_split_and_one_too_big_for_the_hall_refused() {
        assert_eq!(best(&map(&["...", "..."]), 4).split(' ').count(), 4);
        assert_eq!(best(&map(&["...", "..."]), 7), "none");
        assert_eq!(best(&map(&["xxx"]), 1), "none");
    }

    proptest! {
        #[test]
        fn best_gives_free_seats_each_once_and_neighbours_where_a_row_has_room(
            rows in proptest::collection::vec("[.x ]{1,12}", 1..6),
            n in 1usize..8,
        ) {
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let map = map(&rows);
            let room = rows.iter().any(|row| row.split(['x', ' ']).any(|run| run.len() >= n));
            match map.best(n) {
                None => prop_assert!(map.n_free() < n),
                Some(seats) => {
                    prop_assert_eq!(seats.len(), n);
                    let distinct: std::collections::HashSet<_> = seats.iter().collect();
                    prop_assert_eq!(distinct.len(), n);
                    prop_assert!(seats.iter().all(|seat| map.is_free(seat)));
                    if room {
                        let at: Vec<usize> = seats.iter().map(|seat| map.index[seat]).collect();
                        prop_assert!(at.windows(2).all(|w| map.adjacent(w[0], w[1])
                            && map.seats[w[0]].row == map.seats[w[1]].row));
                    }
                }
            }
        }

        #[test]
        fn claiming_and_freeing_keep_count(claims in proptest::collection::vec(0usize..12, 0..40)) {
            let mut map = map(&["......", "......"]);
            for (turn, seat) in claims.into_iter().enumerate() {
                let label = map.seats[seat].label.clone();
                if turn % 3 == 0 { map.free(&[label]) } else { map.claim(&[label]) }
                prop_assert_eq!(map.n_free(), map.free.iter().filter(|free| **free).count());
            }
        }
    }
}
