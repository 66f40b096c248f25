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
    ($(#[$doc:meta])* $name:ident, $check:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
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
    |text| (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
    InvalidLabel::Seat
}

#[cfg(test)]
mod tests {
    use super::*;

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
