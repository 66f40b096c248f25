//! Values for property tests: any id, and a signed text with each of its bits altered.

use proptest::prelude::*;
use uuid::Uuid;

/// Any UUID, as an id of some kind.
pub(crate) fn id<T: std::fmt::Debug>(make: fn(Uuid) -> T) -> impl Strategy<Value = T> {
    any::<u128>().prop_map(move |bits| make(Uuid::from_u128(bits)))
}

/// Any second of the years 1970 to 2106.
pub(crate) fn second() -> impl Strategy<Value = chrono::DateTime<chrono::Utc>> {
    any::<u32>().prop_map(|s| chrono::DateTime::from_timestamp(s.into(), 0).expect("within range"))
}

/// The text, once for each bit of its ASCII characters, with that bit flipped.
pub(crate) fn each_bit_flipped(text: &str) -> impl Iterator<Item = String> + use<'_> {
    assert!(text.is_ascii());
    (0..text.len() * 7).map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 7] ^= 1 << (bit % 7);
        String::from_utf8(bytes).expect("seven bits are ASCII")
    })
}
