//! Ids of accounts that are made with an `Idempotency-Key`.
//!
//! Before there is an account a key belongs to the e-mail address that it came with. Nothing is
//! stored for it: the account's id is a keyed hash of both, and of the rest of the request.

use aws_lc_rs::hmac;
use contract::{AccountId, api::accounts::Signup, keys::MasterKey};
use uuid::Builder;

/// Makes the ids of accounts that are asked for with a key.
pub(crate) struct AccountIds(hmac::Key);

/// The first half says by which key, the second for what.
const HALF: usize = 8;

impl AccountIds {
    pub(crate) fn new(master: &MasterKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, master.derive("account-id").as_bytes()))
    }

    /// The password is no part of it: it is compared with the account's.
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

/// Whether two accounts were asked for with the same key.
pub(crate) fn is_same_key(one: AccountId, other: AccountId) -> bool {
    one.0.as_bytes()[..HALF] == other.0.as_bytes()[..HALF]
}
