//! Booking ids that prove what they are.
//!
//! If the request has an Idempotency-Key, the first half of its id is a keyed hash of the request,
//! so a repeated request gets the same id on any node, at any time, without shared state. If it has
//! no key, the first half says when the request was accepted. The second half is a keyed hash of
//! the first half and the account. So while the booking has no row, ingress can answer QUEUED to
//! its owner and 404 to anybody else.

use std::sync::atomic::{AtomicU16, Ordering};

use chrono::{DateTime, Utc};
use uuid::{Builder, Uuid};

use crate::{
    AccountId, BookingId, ShowId, TierCode,
    booking::{Kind, Wish},
    keys::{MasterKey, Secret, random},
};

/// What makes two requests the same request.
pub struct RequestIdentity<'a> {
    pub account: AccountId,
    pub show: ShowId,
    pub tier: &'a TierCode,
    pub kind: Kind,
    /// Seats sorted.
    pub wish: &'a Wish,
    /// The client's Idempotency-Key.
    pub key: &'a str,
}

/// Most characters in an Idempotency-Key.
pub const KEY_LENGTH_MAX: usize = 64;

/// Whether these bytes can be an Idempotency-Key: 1 to 64 visible ASCII characters.
#[must_use]
pub fn is_key(bytes: &[u8]) -> bool {
    (1..=KEY_LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// The start of 2026, from which ids count seconds. 32 bits of seconds last for 136 years.
const COUNTED_FROM: i64 = 1_767_225_600;

/// Makes and recognises booking ids.
#[derive(Clone)]
pub struct BookingIds(Secret);

impl BookingIds {
    /// The ids of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self(master.derive("booking-id"))
    }

    /// A new id for a request without a key, accepted at this moment of Postgres's clock. Its first
    /// half holds the second (32 bits), a number that this process does not use twice in that
    /// second (16), and a hash of both and the account (12), by which it differs from the id of a
    /// request with a key.
    #[must_use]
    pub fn fresh(&self, account: AccountId, accepted_at: DateTime<Utc>) -> BookingId {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        static FIRST: std::sync::LazyLock<u16> =
            std::sync::LazyLock::new(|| u16::from_be_bytes(random()));
        let second = accepted_at.timestamp().saturating_sub(COUNTED_FROM);
        let second = u32::try_from(second.max(0)).unwrap_or(u32::MAX);
        let number = FIRST.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&second.to_be_bytes());
        bytes[4..6].copy_from_slice(&number.to_be_bytes());
        self.stamp(&mut bytes, account);
        self.prove(bytes, account)
    }

    /// When the request was accepted. `None` if it had a key: its id does not say. The id must be
    /// this account's.
    #[must_use]
    pub fn accepted_at(&self, id: BookingId, account: AccountId) -> Option<DateTime<Utc>> {
        let mut stamped = *id.0.as_bytes();
        self.stamp(&mut stamped, account);
        if fixed(stamped) != id.0 {
            return None;
        }
        let [a, b, c, d, ..] = stamped;
        let second = i64::from(u32::from_be_bytes([a, b, c, d]));
        DateTime::from_timestamp(COUNTED_FROM + second, 0)
    }

    /// The id of a request with a key.
    #[must_use]
    pub fn derive(&self, asked: &RequestIdentity<'_>) -> BookingId {
        let wish = serde_json::to_vec(asked.wish).expect("a wish is plain JSON");
        let mut turn: Vec<u8> = b"content".to_vec();
        loop {
            let content = self.0.mac(&[
                &turn,
                asked.account.0.as_bytes(),
                asked.show.0.as_bytes(),
                asked.tier.as_str().as_bytes(),
                asked.kind.as_str().as_bytes(),
                &wish,
                asked.key.as_bytes(),
            ]);
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&content[..8]);
            let id = self.prove(bytes, asked.account);
            if self.accepted_at(id, asked.account).is_none() {
                return id;
            }
            // One hash in 4,096 looks like the id of a request without a key. Hash again, with
            // another prefix.
            turn.push(b'+');
        }
    }

    /// Sets the last twelve free bits of the first half to a hash of the bits before and the
    /// account.
    fn stamp(&self, bytes: &mut [u8; 16], account: AccountId) {
        let mark = self.0.mac(&[b"at", &bytes[..6], account.0.as_bytes()]);
        bytes[6..8].copy_from_slice(&mark[..2]);
    }

    /// Whether this installation made the id for this account.
    #[must_use]
    pub fn belongs_to(&self, id: BookingId, account: AccountId) -> bool {
        // The comparison may exit early: how long it takes reveals nothing that the owner does not
        // know.
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
            let (tier, wish, key) = (&tier, &wish, &*key);
            let asked = RequestIdentity { account, show, tier, kind: Kind::Hold, wish, key };
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

    proptest! {
        #[test]
        fn an_id_without_a_key_tells_when_it_was_accepted_and_one_with_a_key_never_does(
            account in id(AccountId), other in id(AccountId), show in id(ShowId),
            second in 0..u32::MAX, key in "[!-~]{1,64}",
        ) {
            let at = DateTime::from_timestamp(COUNTED_FROM + i64::from(second), 0).unwrap();
            let fresh = ids().fresh(account, at);
            prop_assert_eq!(ids().accepted_at(fresh, account), Some(at));
            prop_assert!(ids().belongs_to(fresh, account) && !ids().belongs_to(fresh, other));
            prop_assert_ne!(fresh, ids().fresh(account, at));
            let tier: TierCode = "STANDARD".parse().unwrap();
            let wish = Wish::BestAvailable(1);
            let (tier, wish, key) = (&tier, &wish, &*key);
            let asked = RequestIdentity { account, show, tier, kind: Kind::Hold, wish, key };
            prop_assert_eq!(ids().accepted_at(ids().derive(&asked), account), None);
        }
    }

    #[test]
    fn no_keyed_id_of_very_many_looks_like_a_moment() {
        let (account, show) = (AccountId::new(), ShowId::new());
        let tier: TierCode = "STANDARD".parse().unwrap();
        let wish = Wish::BestAvailable(1);
        for key in 0..50_000 {
            let key = key.to_string();
            let asked = RequestIdentity {
                account,
                show,
                tier: &tier,
                kind: Kind::Hold,
                wish: &wish,
                key: &key,
            };
            let id = ids().derive(&asked);
            assert!(ids().accepted_at(id, account).is_none() && ids().belongs_to(id, account));
        }
    }

    #[test]
    fn the_same_request_has_the_same_id_and_only_its_owner_can_tell() {
        let ids = ids();
        let (account, show) = (AccountId::new(), ShowId::new());
        let tier: TierCode = "STANDARD".parse().unwrap();
        let derive = |n, key| {
            let wish = Wish::BestAvailable(n);
            ids.derive(&RequestIdentity {
                account,
                show,
                tier: &tier,
                kind: Kind::Order,
                wish: &wish,
                key,
            })
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
