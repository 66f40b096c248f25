//! Halls: rows, tiers, aisles, wheelchair places, seats that are never sold. Pure.

use contract::{
    SeatLabel, TierCode,
    api::catalogue::{Layout, Row, ScreenTier, Seat, SeatKind},
};

/// Seats of the premiere by default.
pub const PREMIERE_SEATS: usize = 1_000;
/// Letters of rows, without those that look like digits.
const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Every seat of this number is not for sale: broken, or behind a pillar.
const UNAVAILABLE_EVERY: usize = 147;

/// Tiers from the screen to the back: code, name, share of the rows in per cent.
const TIERS: [(&str, &str, usize); 3] =
    [("STANDARD", "Standard", 50), ("PREMIUM", "Premium", 35), ("RECLINER", "Recliner", 15)];

/// The API takes 100,000 places in a layout, aisles included.
const SEATS_MAX: usize = 96_000;

/// Parses a number of seats that makes a hall and whose layout fits into one request.
pub fn seats(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(seats @ 50..=SEATS_MAX) => Ok(seats),
        _ => Err(format!("between 50 and {SEATS_MAX} seats")),
    }
}

/// A hall with exactly `seats` sellable seats, in three tiers.
#[must_use]
pub fn hall(seats: usize) -> (Vec<ScreenTier>, Layout) {
    let blocks: [usize; 3] = match seats {
        0..200 => [3, 6, 3],
        200..600 => [5, 10, 5],
        600..6_000 => [8, 16, 8],
        6_000..20_000 => [14, 30, 14],
        _ => [60, 120, 60],
    };
    let rows_about = seats.div_ceil(blocks.iter().sum());
    let mut left = seats;
    let mut n_placed = 0;
    let mut rows = Vec::new();
    while left > 0 {
        let tier = tier_of(rows.len(), rows_about);
        let row = row(&row_name(rows.len()), &tier, blocks, rows.is_empty(), &mut n_placed, left);
        left -= row.seats.iter().filter(|seat| seat.kind.is_sellable()).count();
        rows.push(row);
    }
    let layout = Layout { rows };
    let tiers = TIERS.iter().filter_map(|(code, name, _)| tier(&layout, code, name)).collect();
    (tiers, layout)
}

/// A field without seat numbers.
#[must_use]
pub fn lawn(places: i32) -> (Vec<ScreenTier>, Layout) {
    let tier = ScreenTier {
        tier: code("LAWN"),
        name: "Lawn".into(),
        general_admission: true,
        capacity: places,
    };
    (vec![tier], Layout { rows: Vec::new() })
}

/// One row: blocks of seats with an aisle between them, at most `left` of them for sale.
fn row(
    name: &str,
    tier: &TierCode,
    blocks: [usize; 3],
    is_first: bool,
    n_placed: &mut usize,
    mut left: usize,
) -> Row {
    let mut seats = Vec::new();
    let mut number = 0;
    let last = blocks.iter().sum::<usize>();
    for (block, width) in blocks.into_iter().enumerate() {
        if block > 0 {
            seats.push(seat(format!("{name}-{block}"), tier, SeatKind::Aisle));
        }
        for _ in 0..width {
            if left == 0 {
                break;
            }
            number += 1;
            *n_placed += 1;
            let kind = if (*n_placed).is_multiple_of(UNAVAILABLE_EVERY) {
                SeatKind::Unavailable
            } else if is_first && (number <= 2 || number > last - 2) {
                SeatKind::Wheelchair
            } else {
                SeatKind::Seat
            };
            left -= usize::from(kind.is_sellable());
            seats.push(seat(format!("{name}{number}"), tier, kind));
        }
    }
    Row { row: name.to_owned(), seats }
}

fn seat(label: String, tier: &TierCode, kind: SeatKind) -> Seat {
    let seat_id = SeatLabel::try_from(label).expect("a short label of letters and digits");
    Seat { seat_id, tier: tier.clone(), kind }
}

/// The tier with the seats it has in the layout; `None` if the hall is too small for it.
fn tier(layout: &Layout, text: &str, name: &str) -> Option<ScreenTier> {
    let seats = layout.rows.iter().flat_map(|row| &row.seats);
    let sellable =
        seats.filter(|seat| seat.tier.as_str() == text && seat.kind.is_sellable()).count();
    let capacity = i32::try_from(sellable).expect("a hall has at most a hundred thousand seats");
    (capacity > 0).then(|| ScreenTier {
        tier: code(text),
        name: name.to_owned(),
        general_admission: false,
        capacity,
    })
}

fn tier_of(row: usize, rows: usize) -> TierCode {
    let percent = (2 * row + 1) * 50 / rows.max(1);
    let mut end = 0;
    let tier = TIERS.iter().find(|(_, _, share)| {
        end += share;
        percent < end
    });
    // Rows beyond the estimate belong to the back.
    code(tier.map_or(TIERS[2].0, |(code, _, _)| code))
}

fn code(text: &str) -> TierCode {
    text.parse().expect("upper-case letters")
}

/// `A` to `Z` without `I` and `O`, then `AA`.
fn row_name(mut n: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(LETTERS[n % LETTERS.len()]));
        if n < LETTERS.len() {
            break;
        }
        n = n / LETTERS.len() - 1;
    }
    letters.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_hall_has_exactly_its_seats_each_with_a_label_of_its_own() {
        for seats in [50, 100, 147, 250, 999, 1000, 5_999, 10_000, 20_000, SEATS_MAX] {
            let (tiers, layout) = hall(seats);
            let all: Vec<&Seat> = layout.rows.iter().flat_map(|row| &row.seats).collect();
            let sellable = all.iter().filter(|seat| seat.kind.is_sellable()).count();
            assert_eq!(sellable, seats);
            let total: i32 = tiers.iter().map(|tier| tier.capacity).sum();
            assert_eq!(total, i32::try_from(seats).unwrap());
            let labels: HashSet<_> = all.iter().map(|seat| &seat.seat_id).collect();
            assert_eq!(labels.len(), all.len());
            assert_eq!(tiers.len(), 3, "{seats} seats");
            assert!(all.len() <= 100_000, "what the API takes");
            let most = layout.rows.iter().map(|row| row.seats.len()).max().unwrap();
            assert!(layout.rows.len() <= 2000 && most <= 500, "what the API takes");
        }
    }

    #[test]
    fn a_hall_has_what_real_halls_have() {
        let (_, layout) = hall(1000);
        let has =
            |kind| layout.rows.iter().flat_map(|row| &row.seats).any(|seat| seat.kind == kind);
        assert!(has(SeatKind::Aisle) && has(SeatKind::Wheelchair) && has(SeatKind::Unavailable));
    }

    #[test]
    fn rows_are_named_as_in_a_theatre() {
        let names: Vec<String> = [0, 7, 8, 23, 24, 25, 48].map(row_name).to_vec();
        assert_eq!(names, ["A", "H", "J", "Z", "AA", "AB", "BA"]);
    }
}
