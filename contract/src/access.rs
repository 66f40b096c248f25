//! Access tokens: who is calling. HS256, because only our own services read them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AccountId, SessionId, keys::MasterKey};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

/// The account and role that a token is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: AccountId,
    pub role: Role,
}

/// What a token says: the account, its role, and the generation of the account's tokens that this
/// one belongs to. Only a node that follows the revocations knows whether that generation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub account: AccountId,
    pub role: Role,
    /// Counts how often all tokens of the account were ended before this one was made.
    pub generation: i64,
    /// The session that it was made for; `None` in a token of a version before lists of sessions.
    pub session: Option<SessionId>,
    /// `None` in a token of a version before token generations.
    pub issued_at: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: AccountId,
    role: Role,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// Missing in tokens of a version before token generations, which belong to generation 0.
    #[serde(default)]
    r#gen: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
}

const ISSUER: &str = "usher";
/// Longest life of a token. An older revocation concerns no token any more.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(24);
/// Most by which the clocks of two nodes may differ.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(1);

/// Signs and checks access tokens.
#[derive(Clone)]
pub struct AccessKeys {
    sign: EncodingKey,
    check: DecodingKey,
    rules: Validation,
}

impl AccessKeys {
    /// The keys of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let secret = master.derive("access-token");
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        rules.validate_aud = false;
        // Checked in `verify`, on the caller's clock.
        rules.validate_exp = false;
        Self {
            sign: EncodingKey::from_secret(secret.as_bytes()),
            check: DecodingKey::from_secret(secret.as_bytes()),
            rules,
        }
    }

    /// Signs a token.
    #[must_use]
    pub fn sign(&self, token: &Token) -> String {
        let claims = Claims {
            iss: ISSUER.into(),
            sub: token.account,
            role: token.role,
            exp: token.expires_at.timestamp(),
            iat: token.issued_at.map(|at| at.timestamp()),
            r#gen: token.generation,
            sid: token.session,
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .expect("these claims are plain JSON")
    }

    /// A token of generation 0, for tests and load tests. It is refused once the account's tokens
    /// have been ended.
    #[must_use]
    pub fn issue(&self, caller: Caller, expires_at: DateTime<Utc>) -> String {
        let Caller { account, role } = caller;
        self.sign(&Token {
            account,
            role,
            generation: 0,
            session: None,
            issued_at: None,
            expires_at,
        })
    }

    /// Reads a token. `None` if it is forged, foreign or expired, or valid for longer than
    /// revocations are remembered.
    #[must_use]
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Token> {
        let claims = decode::<Claims>(token, &self.check, &self.rules).ok()?.claims;
        let left = claims.exp.checked_sub(now.timestamp()).filter(|left| *left > 0)?;
        let left_max = (TOKEN_LIFETIME_MAX + CLOCKS_APART_MAX).as_secs();
        (left.unsigned_abs() <= left_max).then_some(Token {
            account: claims.sub,
            role: claims.role,
            generation: claims.r#gen,
            session: claims.sid,
            issued_at: claims.iat.and_then(|at| DateTime::from_timestamp(at, 0)),
            expires_at: DateTime::from_timestamp(claims.exp, 0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{each_bit_flipped, id, second};

    fn keys() -> AccessKeys {
        AccessKeys::new(&MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap())
    }

    proptest! {
        #[test]
        fn any_token_is_read_back(
            account in id(AccountId),
            admin: bool,
            of_session: bool,
            generation: i64,
            expires_at in second(),
        ) {
            let role = if admin { Role::Admin } else { Role::User };
            let issued_at = Some(expires_at - Duration::from_mins(15));
            let session = of_session.then(SessionId::new);
            let token = Token { account, role, generation, session, issued_at, expires_at };
            let text = keys().sign(&token);
            let before = expires_at - Duration::from_secs(1);
            prop_assert_eq!(keys().verify(&text, before), Some(token));
            prop_assert_eq!(keys().verify(&text, expires_at), None);
        }

        #[test]
        fn no_text_is_a_token_by_chance(text in ".{0,200}", claims in "[a-zA-Z0-9_-]{0,80}") {
            let now = DateTime::UNIX_EPOCH;
            prop_assert_eq!(keys().verify(&text, now), None);
            let token = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.{claims}.");
            prop_assert_eq!(keys().verify(&token, now), None);
        }
    }

    #[test]
    fn a_token_with_any_bit_altered_speaks_for_nobody() {
        let caller = Caller { account: AccountId::new(), role: Role::User };
        let now = DateTime::UNIX_EPOCH;
        let token = keys().issue(caller, now + Duration::from_mins(1));
        for altered in each_bit_flipped(&token) {
            assert_eq!(keys().verify(&altered, now), None, "{altered} for {token}");
        }
    }

    #[test]
    fn a_token_speaks_for_its_account_until_it_expires() {
        let key = |text: &str| MasterKey::parse(text).unwrap();
        let keys = AccessKeys::new(&key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        let others = AccessKeys::new(&key("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        let now = DateTime::UNIX_EPOCH;
        let caller = Caller { account: AccountId::new(), role: Role::User };
        let token = keys.issue(caller, now + Duration::from_mins(1));
        assert_eq!(keys.verify(&token, now).map(|token| token.account), Some(caller.account));
        assert_eq!(keys.verify(&token, now + Duration::from_mins(2)), None);
        assert_eq!(others.verify(&token, now), None);
        assert_eq!(keys.verify("eyJhbGciOiJub25lIn0.e30.", now), None);
    }
    #[test]
    fn a_token_of_the_version_before_is_of_the_first_generation() {
        #[derive(Serialize)]
        struct Before {
            iss: &'static str,
            sub: AccountId,
            role: Role,
            exp: i64,
        }
        let account = AccountId::new();
        let claims = Before { iss: ISSUER, sub: account, role: Role::Admin, exp: 86_400 };
        let text = encode(&Header::new(Algorithm::HS256), &claims, &keys().sign).unwrap();
        let read = keys().verify(&text, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!((read.account, read.generation, read.issued_at), (account, 0, None));
    }

    #[test]
    fn a_token_that_would_outlive_the_memory_of_revocations_speaks_for_nobody() {
        let caller = Caller { account: AccountId::new(), role: Role::User };
        let now = DateTime::UNIX_EPOCH;
        let token = |lives| keys().issue(caller, now + lives);
        assert!(keys().verify(&token(TOKEN_LIFETIME_MAX), now).is_some());
        assert!(keys().verify(&token(TOKEN_LIFETIME_MAX * 2), now).is_none());
    }
}
