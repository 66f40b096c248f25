//! API keys, with which a partner's programs act as an account. A key proves itself and names its
//! account, so a forged one costs no query, and it is derived, not stored, so a copy of the
//! database holds none, not even hashed. Whether a key is still good, only the database knows.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    AccountId, ApiKeyId,
    keys::{MasterKey, Secret},
};

/// Every key begins with it, so that a scanner for leaked secrets knows one when it sees it.
pub const PREFIX: &str = "usher_";
/// Characters of a key.
pub const CHARS: usize = 97;

const ID_BYTES: usize = 16;
const TURN_BYTES: usize = 4;

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub account: AccountId,
    /// How often the key had been given a new secret when this one was made.
    pub turn: i32,
}

/// Makes and checks keys.
#[derive(Clone)]
pub struct ApiKeys(Secret);

impl ApiKeys {
    /// Makes and checks the keys of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self(master.derive("api-key"))
    }

    /// The text of a key.
    #[must_use]
    pub fn sign(&self, key: ApiKey) -> String {
        let (id, account) = (key.id.0.as_bytes().as_slice(), key.account.0.as_bytes().as_slice());
        let turn = key.turn.to_be_bytes();
        let mac = self.0.mac(&[id, account, &turn]);
        let body = BASE64_URL_SAFE_NO_PAD.encode([id, account, &turn, &mac].concat());
        format!("{PREFIX}{body}")
    }

    /// Reads a key without the database; `None` if this installation did not make it.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<ApiKey> {
        let body = text.strip_prefix(PREFIX).filter(|_| text.len() == CHARS)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(body).ok()?;
        let (id, rest) = bytes.split_at_checked(ID_BYTES)?;
        let (account, rest) = rest.split_at_checked(ID_BYTES)?;
        let (turn, mac) = rest.split_at_checked(TURN_BYTES)?;
        let key = ApiKey {
            id: ApiKeyId(Uuid::from_slice(id).ok()?),
            account: AccountId(Uuid::from_slice(account).ok()?),
            turn: i32::from_be_bytes(turn.try_into().ok()?),
        };
        self.0.proves(&[id, account, turn], mac).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arbitrary::each_bit_flipped, keys::random};

    #[test]
    fn a_key_is_read_back_and_any_other_text_is_none() {
        let master = |bytes: [u8; 32]| {
            MasterKey::parse(&base64::prelude::BASE64_STANDARD.encode(bytes)).unwrap()
        };
        let (keys, others) = (ApiKeys::new(&master([1; 32])), ApiKeys::new(&master(random())));
        let key = ApiKey { id: ApiKeyId::new(), account: AccountId::new(), turn: 7 };
        let text = keys.sign(key);
        assert_eq!((text.len(), keys.read(&text)), (CHARS, Some(key)));
        assert_eq!(others.read(&text), None, "of another installation");
        for altered in each_bit_flipped(&text) {
            assert_eq!(keys.read(&altered), None, "{altered} for {text}");
        }
        for none in ["", PREFIX, "usher_AAAA", &text[PREFIX.len()..], &text[..text.len() - 1]] {
            assert_eq!(keys.read(none), None, "{none}");
        }
    }
}
