//! What seats cost, as an order says it.

use contract::{
    SeatLabel,
    api::bookings::{LineKind, OrderLine},
};

use crate::partitions::Terms;

/// The lines of an order for these seats, as they are stored.
pub(super) fn lines_json(terms: &Terms, seats: &[SeatLabel]) -> serde_json::Value {
    let lines: Vec<OrderLine> = seats
        .iter()
        .map(|seat| OrderLine {
            kind: LineKind::Seat,
            label: if terms.general_admission {
                terms.tier_name.clone()
            } else {
                format!("{} {seat}", terms.tier_name)
            },
            amount: terms.price,
        })
        .collect();
    serde_json::to_value(lines).expect("lines are plain JSON")
}

/// What these seats cost, in minor units.
pub(super) fn amount(terms: &Terms, seats: &[SeatLabel]) -> i64 {
    terms.price * i64::try_from(seats.len()).expect("a request has at most 20 seats")
}
