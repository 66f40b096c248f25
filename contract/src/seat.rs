//! Seat labels and tier codes: parsed once, trusted afterwards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Why a label or code was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidLabel {
    #[error("a tier is 1 to 32 characters A-Z, 0-9 and _, and starts with a letter")]
    Tier,
    #[error("a seat is 1 to 16 visible ASCII characters")]
    Seat,
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $check:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, pattern = $pattern)]
        pub struct $name(String);

        impl $name {
            /// The text of it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidLabel;

            fn try_from(text: String) -> Result<Self, InvalidLabel> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err($error) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidLabel;

            fn from_str(text: &str) -> Result<Self, InvalidLabel> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(label: $name) -> Self {
                label.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label! {
    /// A price category of a show, such as `PREMIUM`: `[A-Z][A-Z0-9_]{0,31}`.
    TierCode,
    "^[A-Z][A-Z0-9_]{0,31}$",
    |text| {
        text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    },
    InvalidLabel::Tier
}

label! {
    /// A seat as people read it, such as `A1`: 1 to 16 visible ASCII characters.
    SeatLabel,
    "^[!-~]{1,16}$",
    |text| (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
    InvalidLabel::Seat
}

impl SeatLabel {
    /// What labels are sorted by where people read them and the hall is not at hand: `A2` before
    /// `A10`, and row `Z` before row `AA`.
    #[must_use]
    pub fn natural_key(&self) -> impl Ord + use<'_> {
        let kind = |b: u8| (b.is_ascii_digit(), b.is_ascii_alphabetic());
        let runs = self.0.as_bytes().chunk_by(|a, b| kind(*a) == kind(*b));
        runs.map(|run| {
            let zeros = run.iter().take_while(|b| **b == b'0').count();
            let counted = if run[0].is_ascii_digit() { &run[zeros..] } else { run };
            Run { counted: (counted.len(), counted), whole: run }
        })
        .collect::<Vec<_>>()
    }
}

/// A number, letters, or other characters in a row: the longer ones come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run<'a> {
    counted: (usize, &'a [u8]),
    /// Tells `A1` from `A01`.
    whole: &'a [u8],
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_read_in_the_order_of_a_hall() {
        let order = ["A1", "A01", "A2", "A10", "B1", "B2b", "Z9", "AA1", "AA10", "B-12"];
        let mut seats: Vec<SeatLabel> = order.iter().map(|seat| seat.parse().unwrap()).collect();
        seats.reverse();
        seats.sort_by(|a, b| a.natural_key().cmp(&b.natural_key()));
        let sorted: Vec<&str> = seats.iter().map(SeatLabel::as_str).collect();
        assert_eq!(sorted, ["A01", "A1", "A2", "A10", "B-12", "B1", "B2b", "Z9", "AA1", "AA10"]);
    }

    proptest! {
        #[test]
        fn no_two_labels_have_one_key(a in "[A0-]{1,5}", b in "[A0-]{1,5}") {
            let (a, b): (SeatLabel, SeatLabel) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(a == b, a.natural_key().cmp(&b.natural_key()).is_eq());
        }

        #[test]
        fn a_good_label_is_kept_as_it_is(tier in "[A-Z][A-Z0-9_]{0,31}", seat in "[!-~]{1,16}") {
            let read: TierCode = serde_json::from_value(tier.clone().into()).unwrap();
            prop_assert_eq!(read.as_str(), &tier);
            let read: SeatLabel = serde_json::from_value(seat.clone().into()).unwrap();
            prop_assert_eq!(read.as_str(), &seat);
        }

        #[test]
        fn one_stray_character_spoils_a_label(
            before in "[A-Z0-9]{0,15}", tier_stray in "[^A-Z0-9_]", seat_stray in "[^!-~]",
            after in "[A-Z0-9]{0,15}",
        ) {
            let tier = format!("{before}{tier_stray}{after}").parse::<TierCode>();
            prop_assert_eq!(tier, Err(InvalidLabel::Tier));
            let seat = format!("{before}{seat_stray}{after}").parse::<SeatLabel>();
            prop_assert_eq!(seat, Err(InvalidLabel::Seat));
        }

        #[test]
        fn a_label_that_is_too_long_is_refused(tier in "[A-Z]{33,80}", seat in "[!-~]{17,80}") {
            prop_assert_eq!(tier.parse::<TierCode>(), Err(InvalidLabel::Tier));
            prop_assert_eq!(seat.parse::<SeatLabel>(), Err(InvalidLabel::Seat));
        }
    }

    #[test]
    fn labels_are_checked_where_they_enter() {
        for good in ["A", "PREMIUM", "TIER_2"] {
            assert!(good.parse::<TierCode>().is_ok(), "{good}");
        }
        for bad in ["", "premium", "2ND", "A-B", "A".repeat(33).as_str()] {
            assert_eq!(bad.parse::<TierCode>(), Err(InvalidLabel::Tier), "{bad}");
        }
        for bad in ["", "A 1", "Ä1", "A\u{0}", "A".repeat(17).as_str()] {
            assert_eq!(bad.parse::<SeatLabel>(), Err(InvalidLabel::Seat), "{bad}");
        }
    }
}
