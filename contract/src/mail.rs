//! Mails: what is asked for, and the tokens of their links.
//!
//! A token is derived from the id of its mail and the master key. So neither the database nor the
//! queue holds it, and only whoever sends the mail and the mailbox know it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    MailId,
    keys::{MasterKey, Secret, digest},
};

/// Characters of the token in a link.
pub const TOKEN_CHARS: usize = 43;

/// What a mail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailKind {
    /// Proves with a link that the account's address is its owner's.
    VerifyAddress,
    /// A link that sets a new password.
    PasswordReset,
    /// The password was changed.
    PasswordChanged,
}

impl MailKind {
    pub const ALL: [Self; 3] = [Self::VerifyAddress, Self::PasswordReset, Self::PasswordChanged];

    /// The word in the database and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyAddress => "verify-address",
            Self::PasswordReset => "password-reset",
            Self::PasswordChanged => "password-changed",
        }
    }

    /// The kind of this word; `None` if it is one of a later version.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A message of the queue of mails: this mail is due. Everything else stands in the database.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MailDue {
    pub mail_id: MailId,
}

/// Derives the tokens of links.
#[derive(Clone)]
pub struct LinkTokens(Secret);

impl LinkTokens {
    #[must_use]
    pub fn new(key: &MasterKey) -> Self {
        Self(key.derive("mail links"))
    }

    /// The token in the link of this mail.
    #[must_use]
    pub fn token(&self, mail: MailId) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0.mac(&[mail.0.as_bytes()]))
    }

    /// A new mail.
    #[must_use]
    pub fn request(&self, kind: MailKind) -> MailRequest {
        // Not ordered by time, so that an id gives nothing away.
        let id = MailId(uuid::Uuid::new_v4());
        MailRequest { id, kind, token_hash: digest(self.token(id).as_bytes()) }
    }
}

/// A mail to ask for.
#[derive(Clone, Debug)]
pub struct MailRequest {
    pub id: MailId,
    pub kind: MailKind,
    pub token_hash: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mail_has_a_token_of_its_own_and_every_installation_too() {
        let tokens = |byte: u8| {
            let text = base64::prelude::BASE64_STANDARD.encode([byte; 32]);
            LinkTokens::new(&MasterKey::parse(&text).unwrap())
        };
        let (first, second) = (MailId::new(), MailId::new());
        let token = tokens(1).token(first);
        assert_eq!(token.len(), TOKEN_CHARS);
        assert_eq!(token, tokens(1).token(first));
        assert_ne!(token, tokens(1).token(second));
        assert_ne!(token, tokens(2).token(first));
        for kind in MailKind::ALL {
            assert_eq!(MailKind::of(kind.as_str()), Some(kind));
        }
    }
}
