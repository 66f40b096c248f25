//! Access tokens: who is calling. HS256, because only our own services read them.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AccountId, keys::MasterKey};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

/// Who is calling, as far as a token proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: AccountId,
    pub role: Role,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: AccountId,
    role: Role,
    exp: i64,
}

const ISSUER: &str = "usher";

/// Signs and checks access tokens.
#[derive(Clone)]
pub struct AccessKeys {
    sign: EncodingKey,
    check: DecodingKey,
}

impl AccessKeys {
    /// The keys of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let secret = master.derive("access-token");
        Self {
            sign: EncodingKey::from_secret(secret.as_bytes()),
            check: DecodingKey::from_secret(secret.as_bytes()),
        }
    }

    /// A token for this caller until `expires_at`.
    #[must_use]
    pub fn issue(&self, caller: Caller, expires_at: DateTime<Utc>) -> String {
        let claims = Claims {
            iss: ISSUER.into(),
            sub: caller.account,
            role: caller.role,
            exp: expires_at.timestamp(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .expect("these claims are plain JSON")
    }

    /// Who the token speaks for; `None` for a forged, foreign or expired one.
    #[must_use]
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Caller> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_aud = false;
        // Checked below, on the caller's clock.
        validation.validate_exp = false;
        let claims = decode::<Claims>(token, &self.check, &validation).ok()?.claims;
        (claims.exp > now.timestamp()).then_some(Caller { account: claims.sub, role: claims.role })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{each_bit_flipped, id, second};

    fn keys() -> AccessKeys {
        AccessKeys::new(&MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap())
    }

    proptest! {
        #[test]
        fn any_caller_is_read_back(account in id(AccountId), admin: bool, expires_at in second()) {
            let role = if admin { Role::Admin } else { Role::User };
            let caller = Caller { account, role };
            let token = keys().issue(caller, expires_at);
            let before = expires_at - Duration::from_secs(1);
            prop_assert_eq!(keys().verify(&token, before), Some(caller));
            prop_assert_eq!(keys().verify(&token, expires_at), None);
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
        assert_eq!(keys.verify(&token, now), Some(caller));
        assert_eq!(keys.verify(&token, now + Duration::from_mins(2)), None);
        assert_eq!(others.verify(&token, now), None);
        assert_eq!(keys.verify("eyJhbGciOiJub25lIn0.e30.", now), None);
    }
}
