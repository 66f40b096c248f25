//! Derives what is sold from a screen and the prices of a show. Pure.

use std::collections::HashSet;

use contract::{
    SeatLabel, TierCode,
    api::catalogue::{Layout, Price, ScreenDetails, ScreenTier},
};

/// Most characters of a seat label.
const LABEL_MAX: usize = 16;

/// A tier of a show as it will be sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldTier {
    pub tier: TierCode,
    pub name: String,
    pub price: i64,
    pub general_admission: bool,
    pub seats: Vec<PlacedSeat>,
}

/// A sellable seat and its place in the hall: rows from the front, seats from the left, gaps
/// counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedSeat {
    pub label: String,
    pub row: i32,
    pub seat: i32,
    pub is_kept_back: bool,
}

/// What is sold of a screen: its tiers that have a price. Places of general admission get labels
/// such as `FLOOR#0001`, in rows of their own behind the layout.
#[must_use]
pub fn sold(screen: &ScreenDetails, prices: &[Price]) -> Vec<SoldTier> {
    let mut prefixes = Prefixes::of(screen);
    let price = |tier: &ScreenTier| prices.iter().find(|price| price.tier == tier.tier);
    let with_price =
        screen.tiers.iter().enumerate().filter_map(|(n, tier)| Some((n, tier, price(tier)?)));
    with_price
        .map(|(n, tier, price)| SoldTier {
            tier: tier.tier.clone(),
            name: tier.name.clone(),
            price: price.amount,
            general_admission: tier.general_admission,
            seats: if tier.general_admission {
                let row = index(screen.layout.rows.len() + n);
                prefixes
                    .labels(tier)
                    .map(|(label, seat)| PlacedSeat { label, row, seat, is_kept_back: false })
                    .collect()
            } else {
                laid_out(screen, &tier.tier)
            },
        })
        .collect()
}

fn laid_out(screen: &ScreenDetails, tier: &TierCode) -> Vec<PlacedSeat> {
    let mut placed = Vec::new();
    for (row, seats) in screen.layout.rows.iter().enumerate() {
        for (seat, there) in seats.seats.iter().enumerate() {
            if there.tier == *tier && there.kind.is_sellable() {
                let label = there.seat_id.to_string();
                let is_kept_back = there.kind.is_kept_back();
                placed.push(PlacedSeat { label, row: index(row), seat: index(seat), is_kept_back });
            }
        }
    }
    placed
}

fn index(n: usize) -> i32 {
    i32::try_from(n).expect("a hall has a few hundred rows and seats a row")
}

/// Prefixes of made-up labels that are taken, by seats of the layout or by other tiers.
struct Prefixes(HashSet<String>);

impl Prefixes {
    fn of(screen: &ScreenDetails) -> Self {
        let seats = screen.layout.rows.iter().flat_map(|row| &row.seats);
        let taken = seats.filter_map(|seat| seat.seat_id.as_str().split_once('#'));
        Self(taken.map(|(prefix, _)| prefix.to_owned()).collect())
    }

    /// The label and the index of every place of the tier. Labels count from 1, indexes from 0.
    fn labels(&mut self, tier: &ScreenTier) -> impl Iterator<Item = (String, i32)> + use<> {
        let digits = tier.capacity.to_string().len().max(4);
        let prefix = self.take(tier.tier.as_str(), LABEL_MAX - 1 - digits);
        (0..tier.capacity).map(move |n| (format!("{prefix}#{:0digits$}", n + 1), n))
    }

    /// A prefix of at most `length` characters that is not taken.
    fn take(&mut self, code: &str, length: usize) -> String {
        let short = &code[..code.len().min(length)];
        let numbered = (2..).map(|n: u32| {
            let number = n.to_string();
            format!("{}{number}", &short[..short.len().min(length - number.len())])
        });
        let free = std::iter::once(short.to_owned())
            .chain(numbered)
            .find(|prefix| !self.0.contains(prefix))
            .expect("there are more numbers than prefixes");
        self.0.insert(free.clone());
        free
    }
}

/// Seats of the layout that are not sold: aisles, seats out of order, tiers without a price.
#[must_use]
pub fn never_sold(layout: &Layout, prices: &[Price]) -> Vec<SeatLabel> {
    let seats = layout.rows.iter().flat_map(|row| &row.seats);
    let unsold = seats.filter(|seat| {
        !seat.kind.is_sellable() || !prices.iter().any(|price| price.tier == seat.tier)
    });
    unsold.map(|seat| seat.seat_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use contract::api::catalogue::{Row, Seat, SeatKind};

    use super::*;

    fn tier(code: &str, general_admission: bool, capacity: i32) -> ScreenTier {
        ScreenTier {
            tier: code.parse().unwrap(),
            name: code.to_lowercase(),
            general_admission,
            capacity,
        }
    }

    fn seat(label: &str, tier: &str, kind: SeatKind) -> Seat {
        Seat { seat_id: label.parse().unwrap(), tier: tier.parse().unwrap(), kind }
    }

    fn price(tier: &str) -> Price {
        Price { tier: tier.parse().unwrap(), amount: 100, currency: "INR".into() }
    }

    fn screen() -> ScreenDetails {
        let front = vec![
            seat("A1", "STANDARD", SeatKind::Seat),
            seat("-", "STANDARD", SeatKind::Aisle),
            seat("A2", "STANDARD", SeatKind::Wheelchair),
            seat("GENERAL_ADM#1", "RECLINER", SeatKind::Seat),
        ];
        ScreenDetails {
            theatre_id: contract::TheatreId::new(),
            name: "Screen 1".into(),
            tiers: vec![
                tier("STANDARD", false, 2),
                tier("RECLINER", false, 1),
                tier("GENERAL_ADMISSION_EAST", true, 2),
                tier("GENERAL_ADMISSION_WEST", true, 12_000),
            ],
            layout: Layout { rows: vec![Row { row: "A".into(), seats: front }] },
        }
    }

    #[test]
    fn a_show_sells_the_priced_tiers_seat_by_seat() {
        let sold = sold(&screen(), &[price("STANDARD")]);
        assert_eq!(sold.len(), 1);
        let places: Vec<_> =
            sold[0].seats.iter().map(|seat| (seat.label.as_str(), seat.row, seat.seat)).collect();
        assert_eq!(places, [("A1", 0, 0), ("A2", 0, 2)]);
        let never = never_sold(&screen().layout, &[price("STANDARD")]);
        assert_eq!(never, ["-".parse().unwrap(), "GENERAL_ADM#1".parse().unwrap()]);
    }

    #[test]
    fn made_up_labels_are_labels_and_no_two_are_the_same() {
        let east_and_west = [price("GENERAL_ADMISSION_EAST"), price("GENERAL_ADMISSION_WEST")];
        let sold = sold(&screen(), &east_and_west);
        let labels: Vec<&str> =
            sold.iter().flat_map(|tier| &tier.seats).map(|seat| seat.label.as_str()).collect();
        assert_eq!(labels.len(), 12_002);
        assert_eq!(labels[0], "GENERAL_AD2#0001");
        assert_eq!(labels[2], "GENERAL_AD#00001");
        let distinct: HashSet<&str> = labels.iter().copied().collect();
        assert_eq!(distinct.len(), labels.len());
        assert!(labels.iter().all(|label| label.parse::<SeatLabel>().is_ok()));
    }
}
