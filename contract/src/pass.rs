//! The admission pass: an Ed25519 JWT, issued by the waiting room, verified offline by ingress.

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{AccountId, ShowId, TicketId, deadline::PASS_LEEWAY};

/// What a pass grants: one account may book one show, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub show: ShowId,
    pub account: AccountId,
    /// The place that the pass was issued for. A renewed pass keeps it. It buys at most one live
    /// booking.
    pub ticket: TicketId,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: AccountId,
    pid: TicketId,
    iat: i64,
    nbf: i64,
    exp: i64,
}

const ISSUER: &str = "usher";
const TYPE: &str = "usher-pass+jwt";

/// Why a pass was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidPass {
    #[error("it is not a pass of this installation")]
    Forged,
    #[error("it was issued for another show")]
    OtherShow,
    #[error("it was issued to another account")]
    OtherAccount,
    #[error("it has expired; go back to the line")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it was given back; go back to the line")]
    Revoked,
}

/// A private signing key and its id.
pub struct SigningKey {
    pub kid: String,
    sign: EncodingKey,
}

/// A freshly made key pair, to be stored.
pub struct NewKey {
    pub kid: String,
    pub public: Vec<u8>,
    pub private_pkcs8: Vec<u8>,
}

impl NewKey {
    /// Makes a key pair.
    #[must_use]
    pub fn generate() -> Self {
        let pair = Ed25519KeyPair::generate().expect("the operating system gives random bytes");
        let private = pair.to_pkcs8v1().expect("a fresh key pair can be encoded");
        let public = pair.public_key().as_ref().to_vec();
        let kid = BASE64_URL_SAFE_NO_PAD.encode(&public[..9]);
        Self { kid, public, private_pkcs8: private.as_ref().to_vec() }
    }
}

impl SigningKey {
    /// A signer from a stored key.
    #[must_use]
    pub fn new(kid: String, private_pkcs8: &[u8]) -> Self {
        Self { kid, sign: EncodingKey::from_ed_der(private_pkcs8) }
    }

    /// Signs a pass.
    #[must_use]
    pub fn sign(&self, pass: &Pass) -> String {
        let claims = Claims {
            iss: ISSUER.into(),
            aud: pass.show.to_string(),
            sub: pass.account,
            pid: pass.ticket,
            iat: pass.issued_at.timestamp(),
            nbf: pass.issued_at.timestamp(),
            exp: pass.expires_at.timestamp(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.into());
        header.kid = Some(self.kid.clone());
        encode(&header, &claims, &self.sign).expect("these claims are plain JSON")
    }
}

/// The public keys that check passes, by key id.
#[derive(Clone, Default)]
pub struct PassKeys(HashMap<String, (Vec<u8>, DecodingKey)>);

/// A public key as a JSON Web Key (RFC 8037).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
}

/// A JSON Web Key Set.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jwks {
    keys: Vec<Jwk>,
}

impl PassKeys {
    /// A key ring of (key id, public key).
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let ring = keys.into_iter().map(|(kid, public)| {
            let check = DecodingKey::from_ed_der(&public);
            (kid, (public, check))
        });
        Self(ring.collect())
    }

    /// The public keys as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        let keys = self.0.iter().map(|(kid, (public, _))| Jwk {
            kty: "OKP",
            crv: "Ed25519",
            usage: "sig",
            alg: "EdDSA",
            kid: kid.clone(),
            x: BASE64_URL_SAFE_NO_PAD.encode(public),
        });
        Jwks { keys: keys.collect() }
    }

    /// Checks a pass for this show and account at this moment, with [`PASS_LEEWAY`].
    pub fn verify(
        &self,
        token: &str,
        show: ShowId,
        account: AccountId,
        now: DateTime<Utc>,
    ) -> Result<Pass, InvalidPass> {
        let header = decode_header(token).map_err(|_| InvalidPass::Forged)?;
        if header.typ.as_deref() != Some(TYPE) {
            return Err(InvalidPass::Forged);
        }
        let kid = header.kid.ok_or(InvalidPass::Forged)?;
        let (_, check) = self.0.get(&kid).ok_or(InvalidPass::Forged)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub", "aud", "nbf"]);
        // Checked below, each with its own error, on the caller's clock.
        validation.validate_aud = false;
        validation.validate_exp = false;
        let claims =
            decode::<Claims>(token, check, &validation).map_err(|_| InvalidPass::Forged)?.claims;
        let leeway = PASS_LEEWAY.as_secs().cast_signed();
        if claims.aud != show.to_string() {
            return Err(InvalidPass::OtherShow);
        }
        if claims.sub != account {
            return Err(InvalidPass::OtherAccount);
        }
        if claims.exp.saturating_add(leeway) < now.timestamp() {
            return Err(InvalidPass::Expired);
        }
        if claims.nbf.saturating_sub(leeway) > now.timestamp() {
            return Err(InvalidPass::NotYetValid);
        }
        let time = |seconds| DateTime::from_timestamp(seconds, 0).ok_or(InvalidPass::Forged);
        Ok(Pass {
            show,
            account,
            ticket: claims.pid,
            issued_at: time(claims.iat)?,
            expires_at: time(claims.exp)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{each_bit_flipped, id, second};

    fn pass(now: DateTime<Utc>) -> Pass {
        Pass {
            show: ShowId::new(),
            account: AccountId::new(),
            ticket: TicketId::new(),
            issued_at: now,
            expires_at: now + Duration::from_mins(5),
        }
    }

    #[test]
    fn a_pass_opens_one_show_for_one_account_for_a_while() {
        let new = NewKey::generate();
        let signer = SigningKey::new(new.kid.clone(), &new.private_pkcs8);
        let keys = PassKeys::new([(new.kid, new.public)]);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let pass = pass(now);
        let token = signer.sign(&pass);
        let verify = |show, account, now| keys.verify(&token, show, account, now);

        assert_eq!(verify(pass.show, pass.account, now), Ok(pass.clone()));
        assert_eq!(verify(ShowId::new(), pass.account, now), Err(InvalidPass::OtherShow));
        assert_eq!(verify(pass.show, AccountId::new(), now), Err(InvalidPass::OtherAccount));
        let late = pass.expires_at + Duration::from_secs(6);
        assert_eq!(verify(pass.show, pass.account, late), Err(InvalidPass::Expired));
        let early = now - Duration::from_secs(6);
        assert_eq!(verify(pass.show, pass.account, early), Err(InvalidPass::NotYetValid));
        assert_eq!(
            PassKeys::default().verify(&token, pass.show, pass.account, now),
            Err(InvalidPass::Forged)
        );
    }

    #[test]
    fn a_public_key_used_as_a_secret_signs_nothing() {
        let new = NewKey::generate();
        let keys = PassKeys::new([(new.kid.clone(), new.public.clone())]);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let pass = pass(now);
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.into());
        header.kid = Some(new.kid);
        let claims = Claims {
            iss: ISSUER.into(),
            aud: pass.show.to_string(),
            sub: pass.account,
            pid: pass.ticket,
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: pass.expires_at.timestamp(),
        };
        let forged = encode(&header, &claims, &EncodingKey::from_secret(&new.public)).unwrap();
        assert_eq!(keys.verify(&forged, pass.show, pass.account, now), Err(InvalidPass::Forged));
    }

    #[test]
    fn a_pass_with_any_bit_altered_is_forged() {
        let new = NewKey::generate();
        let signer = SigningKey::new(new.kid.clone(), &new.private_pkcs8);
        let keys = PassKeys::new([(new.kid, new.public)]);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let pass = pass(now);
        let token = signer.sign(&pass);
        for altered in each_bit_flipped(&token) {
            let verified = keys.verify(&altered, pass.show, pass.account, now);
            assert_eq!(verified, Err(InvalidPass::Forged), "{altered} for {token}");
        }
    }

    proptest! {
        #[test]
        fn any_pass_is_read_back(
            show in id(ShowId), account in id(AccountId), ticket in id(TicketId),
            issued_at in second(), seconds: u16, kid in "[!-~]{1,40}",
        ) {
            let new = NewKey::generate();
            let signer = SigningKey::new(kid.clone(), &new.private_pkcs8);
            let keys = PassKeys::new([(kid, new.public)]);
            let expires_at = issued_at + Duration::from_secs(seconds.into());
            let pass = Pass { show, account, ticket, issued_at, expires_at };
            let token = signer.sign(&pass);
            prop_assert_eq!(keys.verify(&token, show, account, issued_at), Ok(pass.clone()));
            prop_assert_eq!(keys.verify(&token, show, account, expires_at), Ok(pass));
        }

        #[test]
        fn no_text_is_a_pass_by_chance(text in ".{0,200}", kid in ".{0,40}") {
            let keys = PassKeys::new([("k".to_owned(), NewKey::generate().public)]);
            let header = serde_json::json!({"typ": TYPE, "alg": "EdDSA", "kid": kid}).to_string();
            let header = BASE64_URL_SAFE_NO_PAD.encode(header);
            for text in [text.clone(), format!("{header}.{text}"), format!("{header}.e30.{text}")] {
                let refused =
                    keys.verify(&text, ShowId::new(), AccountId::new(), DateTime::UNIX_EPOCH);
                prop_assert_eq!(refused, Err(InvalidPass::Forged));
            }
        }
    }
}
