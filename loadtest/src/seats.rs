//! Choosing a tier, and seats from the seat map. Every visitor prefers the middle, so that a crowd
//! wants the same seats.

use std::collections::HashSet;

use contract::{
    SeatLabel, TierCode,
    api::catalogue::{Row, Seat, SeatMap, TierAvailable},
};
use fastrand::Rng;

/// A visitor picks one of this many best free blocks.
const BEST_BLOCKS: usize = 6;

/// What a visitor asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub tier: TierCode,
    /// Empty for the best available.
    pub seats: Vec<SeatLabel>,
}

/// Decides on a tier, and on neighbouring seats of it if there are any; otherwise on the best
/// available.
///
/// `None` when the map shows no free seat.
pub fn on_the_map(map: &SeatMap, quantity: u16, rng: &mut Rng) -> Option<Wanted> {
    let taken: HashSet<&SeatLabel> =
        map.unavailable_seat_ids.iter().chain(&map.held_seat_ids).collect();
    let tier = tier_with_free_seats(map, &taken, rng)?;
    let mut blocks = blocks(map, &tier, usize::from(quantity), &taken);
    blocks.sort_by_key(|(distance, _)| *distance);
    blocks.truncate(BEST_BLOCKS);
    let seats = match blocks.len() {
        0 => Vec::new(),
        n => blocks.swap_remove(rng.usize(..n)).1,
    };
    Some(Wanted { tier, seats })
}

/// Decides on the best available of a random tier, weighted by the seats that are left.
///
/// `None` when none is left; held seats are not left.
pub fn best_available(left: &[TierAvailable], rng: &mut Rng) -> Option<Wanted> {
    let weights = left.iter().map(|tier| usize::try_from(tier.seats).unwrap_or_default());
    let tier = left[weighted(weights, rng)?].tier.clone();
    Some(Wanted { tier, seats: Vec::new() })
}

/// A random index; each is as likely as its weight is large. `None` if all weights are zero.
fn weighted(weights: impl Iterator<Item = usize> + Clone, rng: &mut Rng) -> Option<usize> {
    let total: usize = weights.clone().sum();
    let mut at = (total > 0).then(|| rng.usize(..total))?;
    weights.enumerate().find_map(|(index, weight)| {
        let is_here = at < weight;
        at = at.saturating_sub(weight);
        is_here.then_some(index)
    })
}

/// A random tier, weighted by its free seats. The map does not show the stock of general-admission
/// tiers, so they have a small fixed weight.
fn tier_with_free_seats(
    map: &SeatMap,
    taken: &HashSet<&SeatLabel>,
    rng: &mut Rng,
) -> Option<TierCode> {
    let seats = || map.layout.rows.iter().flat_map(|row| &row.seats);
    let weights: Vec<usize> = map
        .prices
        .iter()
        .map(|price| {
            let mut of_tier = seats().filter(|seat| seat.tier == price.tier).peekable();
            if of_tier.peek().is_none() {
                return 10;
            }
            of_tier.filter(|seat| is_free(seat, taken)).count()
        })
        .collect();
    Some(map.prices[weighted(weights.into_iter(), rng)?].tier.clone())
}

/// Blocks of free neighbouring seats of a tier, with their distance from the middle of its first
/// rows.
fn blocks(
    map: &SeatMap,
    tier: &TierCode,
    quantity: usize,
    taken: &HashSet<&SeatLabel>,
) -> Vec<(usize, Vec<SeatLabel>)> {
    let rows = map.layout.rows.iter().filter(|row| row.seats.iter().any(|seat| seat.tier == *tier));
    rows.enumerate()
        .flat_map(|(depth, row)| {
            row.seats.windows(quantity).enumerate().filter_map(move |(start, window)| {
                let free = window.iter().all(|seat| seat.tier == *tier && is_free(seat, taken));
                free.then(|| {
                    let labels = window.iter().map(|seat| seat.seat_id.clone()).collect();
                    (2 * depth + from_the_middle(row, start, quantity), labels)
                })
            })
        })
        .collect()
}

fn from_the_middle(row: &Row, start: usize, quantity: usize) -> usize {
    (2 * start + quantity).abs_diff(row.seats.len()) / 2
}

fn is_free(seat: &Seat, taken: &HashSet<&SeatLabel>) -> bool {
    seat.kind.is_sellable() && !taken.contains(&seat.seat_id)
}

#[cfg(test)]
mod tests {
    use contract::{
        ShowId,
        api::catalogue::{Layout, Price, SeatKind},
    };

    use super::*;

    fn map(taken: &[&str]) -> SeatMap {
        let tier: TierCode = "STANDARD".parse().unwrap();
        let row = |name: &str| Row {
            row: name.into(),
            seats: (1..=9)
                .map(|n| Seat {
                    seat_id: format!("{name}{n}").parse().unwrap(),
                    tier: tier.clone(),
                    kind: if n == 3 { SeatKind::Aisle } else { SeatKind::Seat },
                })
                .collect(),
        };
        SeatMap {
            show_id: ShowId::new(),
            layout: Layout { rows: vec![row("A"), row("B")] },
            prices: vec![Price { tier: tier.clone(), amount: 1, currency: "INR".into() }],
            unavailable_seat_ids: taken.iter().map(|seat| seat.parse().unwrap()).collect(),
            held_seat_ids: Vec::new(),
            version: 1,
        }
    }

    #[test]
    fn chosen_seats_are_free_neighbours() {
        let map = map(&["A5", "B6"]);
        for seed in 0..200 {
            let wanted = on_the_map(&map, 2, &mut Rng::with_seed(seed)).unwrap();
            let columns: Vec<u32> =
                wanted.seats.iter().map(|seat| seat.as_str()[1..].parse().unwrap()).collect();
            assert_eq!(columns[0] + 1, columns[1], "{wanted:?}");
            assert!(!columns.contains(&3), "an aisle is no seat: {wanted:?}");
            assert!(wanted.seats.iter().all(|seat| !map.unavailable_seat_ids.contains(seat)));
        }
    }

    #[test]
    fn a_full_house_ends_the_search() {
        let all: Vec<String> =
            ["A", "B"].iter().flat_map(|row| (1..=9).map(move |n| format!("{row}{n}"))).collect();
        let full = map(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(on_the_map(&full, 1, &mut Rng::with_seed(1)), None);
    }

    #[test]
    fn the_best_available_are_of_a_tier_with_seats_left() {
        let left = |seats: [i32; 3]| {
            let tiers = ["A", "B", "C"].map(|tier| tier.parse().unwrap());
            let tiers = tiers.into_iter().zip(seats);
            tiers.map(|(tier, seats)| TierAvailable { tier, seats }).collect::<Vec<_>>()
        };
        let mut seen = HashSet::new();
        for seed in 0..100 {
            let wanted = best_available(&left([3, 0, 1]), &mut Rng::with_seed(seed)).unwrap();
            seen.insert(wanted.tier.to_string());
        }
        assert_eq!(seen, HashSet::from(["A".to_owned(), "C".to_owned()]));
        assert_eq!(best_available(&left([0, 0, 0]), &mut Rng::with_seed(1)), None);
    }

    #[test]
    fn without_neighbours_the_best_available_are_asked_for() {
        let sparse = map(&["A2", "A4", "A6", "A8", "B2", "B4", "B6", "B8"]);
        let wanted = on_the_map(&sparse, 2, &mut Rng::with_seed(1)).unwrap();
        assert!(wanted.seats.is_empty());
    }
}
