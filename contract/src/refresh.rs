//! Refresh tokens. A token names a session and a turn, and works once; the next token names the
//! next turn. Tokens are derived, not stored, so a copy of the database holds none, not even
//! hashed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    SessionId,
    keys::{MasterKey, Secret},
};

const ID_BYTES: usize = 16;
const TURN_BYTES: usize = 4;

/// What a refresh token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshTurn {
    pub session: SessionId,
    /// How often the session had been refreshed when the token was made.
    pub number: i32,
}

/// Makes and checks refresh tokens.
#[derive(Clone)]
pub struct RefreshKeys(Secret);

impl RefreshKeys {
    /// The key of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self(master.derive("refresh-token"))
    }

    /// The token of a turn: the same text every time.
    #[must_use]
    pub fn sign(&self, turn: RefreshTurn) -> String {
        let session = turn.session.0.as_bytes().as_slice();
        let number = turn.number.to_be_bytes();
        let mac = self.0.mac(&[session, &number]);
        BASE64_URL_SAFE_NO_PAD.encode([session, &number, &mac].concat())
    }

    /// Reads a token without the database; `None` if this installation did not make it.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<RefreshTurn> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, rest) = bytes.split_at_checked(ID_BYTES)?;
        let (number, mac) = rest.split_at_checked(TURN_BYTES)?;
        let turn = RefreshTurn {
            session: SessionId(Uuid::from_slice(id).ok()?),
            number: i32::from_be_bytes(number.try_into().ok()?),
        };
        self.0.proves(&[id, number], mac).then_some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arbitrary::each_bit_flipped, keys::random};

    #[test]
    fn a_token_is_read_back_and_any_other_text_is_none() {
        let text = |first: u8| BASE64_URL_SAFE_NO_PAD.encode([first; 52]);
        let master = |bytes: [u8; 32]| {
            MasterKey::parse(&base64::prelude::BASE64_STANDARD.encode(bytes)).unwrap()
        };
        let (keys, others) =
            (RefreshKeys::new(&master([1; 32])), RefreshKeys::new(&master(random())));
        let turn = RefreshTurn { session: SessionId::new(), number: 7 };
        let token = keys.sign(turn);
        assert_eq!(keys.read(&token), Some(turn));
        assert_eq!(others.read(&token), None, "of another installation");
        for altered in each_bit_flipped(&token) {
            assert_eq!(keys.read(&altered), None, "{altered} for {token}");
        }
        for text in ["", "x", "AAAA", &text(0), &text(9), &token[1..]] {
            assert_eq!(keys.read(text), None, "{text}");
        }
    }
}
