//! Ids of accounts that are made with an `Idempotency-Key`.
//!
//! A key of a sign-up belongs to the e-mail address that it came with, as there is no account yet.
//! Nothing is stored for the key: the account's id is a keyed hash of the address, the key and the
//! rest of the request.

use aws_lc_rs::hmac;
use contract::{AccountId, api::accounts::Signup, keys::MasterKey};
use uuid::Builder;

/// Makes the ids of accounts that are requested with a key.
pub(crate) struct AccountIds(hmac::Key);

/// Bytes of each half of an id: the first is a hash of the key, the second of the whole request.
const HALF: usize = 8;

impl AccountIds {
    pub(crate) fn new(master: &MasterKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, master.derive("account-id").as_bytes()))
    }

    /// The id for this key and request. The password is not part of it: a repetition's password is
    /// checked against the account's.
    pub(crate) fn keyed(&self, email: &str, key: &str, signup: &Signup) -> AccountId {
        let by = self.hash(&[email, key]);
        let what = self.hash(&[email, key, &signup.name, signup.phone.as_deref().unwrap_or("")]);
        let mut bytes = [0; 2 * HALF];
        bytes[..HALF].copy_from_slice(&by);
        bytes[HALF..].copy_from_slice(&what);
        AccountId(Builder::from_custom_bytes(bytes).into_uuid())
    }

    fn hash(&self, texts: &[&str]) -> [u8; HALF] {
        let mut context = hmac::Context::with_key(&self.0);
        for text in texts {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.sign().as_ref()[..HALF].try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Whether two ids were made with the same address and key.
pub(crate) fn is_same_key(one: AccountId, other: AccountId) -> bool {
    one.0.as_bytes()[..HALF] == other.0.as_bytes()[..HALF]
}
