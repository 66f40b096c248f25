//! Booking ids that prove what they are.
//!
//! The first half is a keyed hash of what was asked, so that a repeated request has the same id
//! on any node without shared state. The second half is a keyed hash of the first and the
//! account, so that ingress can tell the owner QUEUED, and anybody else 404, while no row exists.

use uuid::{Builder, Uuid};

use crate::{
    AccountId, BookingId, ShowId, TierCode,
    booking::{Kind, Wish},
    keys::{MasterKey, Secret},
};

/// What makes two requests the same request.
pub struct Asked<'a> {
    pub account: AccountId,
    pub show: ShowId,
    pub tier: &'a TierCode,
    pub kind: Kind,
    /// Seats sorted.
    pub wish: &'a Wish,
    /// The client's Idempotency-Key, or a fresh random one.
    pub key: &'a str,
}

/// Most characters an Idempotency-Key has.
pub const KEY_LENGTH_MAX: usize = 64;

/// Whether these bytes can be an Idempotency-Key: 1 to 64 visible ASCII characters.
#[must_use]
pub fn is_key(bytes: &[u8]) -> bool {
    (1..=KEY_LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Makes and recognises booking ids.
#[derive(Clone)]
pub struct BookingIds(Secret);

impl BookingIds {
    /// The ids of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self(master.derive("booking-id"))
    }

    /// The id of a request.
    #[must_use]
    pub fn derive(&self, asked: &Asked<'_>) -> BookingId {
        let wish = serde_json::to_vec(asked.wish).expect("a wish is plain JSON");
        let content = self.0.mac(&[
            b"content",
            asked.account.0.as_bytes(),
            asked.show.0.as_bytes(),
            asked.tier.as_str().as_bytes(),
            asked.kind.as_str().as_bytes(),
            &wish,
            asked.key.as_bytes(),
        ]);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&content[..8]);
        self.prove(bytes, asked.account)
    }

    /// Whether this id was made here, for this account.
    #[must_use]
    pub fn belongs_to(&self, id: BookingId, account: AccountId) -> bool {
        // The id is no secret to its owner, so an early exit of the comparison tells nothing new.
        self.prove(*id.0.as_bytes(), account) == id
    }

    fn prove(&self, mut bytes: [u8; 16], account: AccountId) -> BookingId {
        // The version bits stand inside the first half: set them before it is hashed.
        bytes = *fixed(bytes).as_bytes();
        let proof = self.0.mac(&[b"owner", &bytes[..8], account.0.as_bytes()]);
        bytes[8..].copy_from_slice(&proof[..8]);
        BookingId(fixed(bytes))
    }
}

fn fixed(bytes: [u8; 16]) -> Uuid {
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::id;

    fn ids() -> BookingIds {
        BookingIds::new(&MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap())
    }

    proptest! {
        #[test]
        fn an_id_proves_its_owner_until_a_bit_of_it_is_altered(
            account in id(AccountId), show in id(ShowId), n in 1..20u16, key in "[!-~]{1,64}",
        ) {
            let tier: TierCode = "STANDARD".parse().unwrap();
            let wish = Wish::BestAvailable(n);
            let asked = Asked { account, show, tier: &tier, kind: Kind::Hold, wish: &wish, key: &key };
            let id = ids().derive(&asked);
            prop_assert_eq!(id, ids().derive(&asked));
            prop_assert!(ids().belongs_to(id, account));
            for bit in 0..128 {
                let altered = BookingId(Uuid::from_u128(id.0.as_u128() ^ (1 << bit)));
                prop_assert!(!ids().belongs_to(altered, account), "bit {}", bit);
            }
        }

        #[test]
        fn no_id_proves_anything_by_chance(id in id(BookingId), account in id(AccountId)) {
            prop_assert!(!ids().belongs_to(id, account));
        }
    }

    #[test]
    fn the_same_request_has_the_same_id_and_only_its_owner_can_tell() {
        let ids = ids();
        let (account, show) = (AccountId::new(), ShowId::new());
        let tier: TierCode = "STANDARD".parse().unwrap();
        let derive = |n, key| {
            let wish = Wish::BestAvailable(n);
            ids.derive(&Asked { account, show, tier: &tier, kind: Kind::Order, wish: &wish, key })
        };
        let id = derive(2, "k");
        assert_eq!(id, derive(2, "k"));
        assert_ne!(id, derive(3, "k"));
        assert_ne!(id, derive(2, "l"));
        assert_eq!(id.0.get_version_num(), 8);
        assert!(ids.belongs_to(id, account));
        assert!(!ids.belongs_to(id, AccountId::new()));
        assert!(!ids.belongs_to(BookingId::new(), account));
    }
}
