//! References and ticket codes that are hard to guess and to misread.

use contract::keys;

/// Letters and digits that people do not confuse.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// A fresh booking reference: ten characters, 50 random bits.
pub(super) fn new_reference() -> String {
    format!("US{}", random_text::<10>())
}

/// A fresh ticket code: `BMS-` and six characters. Unique per show by the database.
pub(super) fn new_ticket_code() -> String {
    format!("BMS-{}", random_text::<6>())
}

fn random_text<const N: usize>() -> String {
    keys::random::<N>().iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
