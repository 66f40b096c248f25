//! The place ticket: the signed text with which a visitor proves a place in the line, even after a
//! loss of Redis. HS256, because only the waiting room reads it.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::{AccountId, ShowId, TicketId, keys::MasterKey};

/// The place that one account has in a line: a number in a stretch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    #[serde(rename = "tid")]
    pub ticket: TicketId,
    #[serde(rename = "sub")]
    pub account: AccountId,
    pub show: ShowId,
    /// 0 is the ordinary lane; others are for priority lanes to come.
    pub lane: u8,
    /// Counts rebuilds of the line; numbers of different epochs cannot be compared.
    pub epoch: u32,
    #[serde(rename = "num")]
    pub number: u64,
    /// To the millisecond.
    #[serde(rename = "jat", with = "chrono::serde::ts_milliseconds")]
    pub joined_at: DateTime<Utc>,
    /// How many visitors ahead the owner was told of with this ticket; no node tells a larger
    /// number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
    /// The place's stretch, by which the place is found after a loss of the line even if the show
    /// was changed. Absent from tickets of a version before stretches.
    #[serde(rename = "str", default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<InStretch>,
}

/// Where a place stands in its stretch, a part of the line that is ordered in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InStretch {
    /// All ranks of the stretch are larger than this.
    pub base: u64,
    /// In a stretch drawn by lot: how many lots after the account's own lot, which may have been
    /// taken, the place's lot comes. Nobody may know the lot itself before the draw.
    #[serde(rename = "lot", default, skip_serializing_if = "Option::is_none")]
    pub past: Option<u32>,
}

const TYPE: &str = "usher-place+jwt";

/// Signs and checks place tickets.
#[derive(Clone)]
pub struct PlaceKeys {
    sign: EncodingKey,
    check: DecodingKey,
}

impl PlaceKeys {
    /// The keys of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let secret = master.derive("place-ticket");
        Self {
            sign: EncodingKey::from_secret(secret.as_bytes()),
            check: DecodingKey::from_secret(secret.as_bytes()),
        }
    }

    /// Signs a place.
    #[must_use]
    pub fn sign(&self, place: &Place) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.into());
        encode(&header, place, &self.sign).expect("a place is plain JSON")
    }

    /// The place a ticket proves; `None` for a forged or edited one.
    #[must_use]
    pub fn verify(&self, ticket: &str) -> Option<Place> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["sub"]);
        validation.validate_aud = false;
        // A place lasts as long as its line; the line itself knows when it ended.
        validation.validate_exp = false;
        let token = decode::<Place>(ticket, &self.check, &validation).ok()?;
        (token.header.typ.as_deref() == Some(TYPE)).then_some(token.claims)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{each_bit_flipped, id, second};

    fn keys() -> PlaceKeys {
        PlaceKeys::new(&MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap())
    }

    fn place() -> impl Strategy<Value = Place> {
        let ids = (id(TicketId), id(AccountId), id(ShowId));
        (ids, any::<(u8, u32, u64)>(), second(), any::<Option<(u64, Option<u32>)>>()).prop_map(
            |((ticket, account, show), (lane, epoch, number), joined_at, stretch)| Place {
                told: number.checked_sub(1),
                stretch: stretch.map(|(base, past)| InStretch { base, past }),
                ticket,
                account,
                show,
                lane,
                epoch,
                number,
                joined_at,
            },
        )
    }

    proptest! {
        #[test]
        fn any_place_is_read_back(place in place()) {
            prop_assert_eq!(keys().verify(&keys().sign(&place)), Some(place));
        }

        #[test]
        fn the_signature_of_one_place_proves_no_other(one in place(), other in place()) {
            let (one, other) = (keys().sign(&one), keys().sign(&other));
            prop_assume!(one != other);
            let (body, _) = one.rsplit_once('.').unwrap();
            let (_, signature) = other.rsplit_once('.').unwrap();
            prop_assert_eq!(keys().verify(&format!("{body}.{signature}")), None);
        }

        #[test]
        fn no_text_is_a_ticket_by_chance(text in ".{0,200}") {
            prop_assert_eq!(keys().verify(&text), None);
        }
    }

    #[test]
    fn a_ticket_with_any_bit_altered_proves_nothing() {
        let place = Place {
            ticket: TicketId::new(),
            account: AccountId::new(),
            show: ShowId::new(),
            lane: 0,
            epoch: 1,
            number: 42,
            joined_at: DateTime::UNIX_EPOCH,
            told: None,
            stretch: None,
        };
        let ticket = keys().sign(&place);
        for altered in each_bit_flipped(&ticket) {
            assert_eq!(keys().verify(&altered), None, "{altered} for {ticket}");
        }
    }
}
