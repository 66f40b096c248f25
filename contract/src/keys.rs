//! One master key from the environment; every other secret is derived from it or sealed with it.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    constant_time, digest, hmac, rand,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use thiserror::Error;

/// The 32 bytes behind every secret of an installation.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

/// Why a master key or a sealed secret cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("the master key must be 32 bytes in base64: `openssl rand -base64 32` makes one")]
    Malformed,
    #[error("this secret was sealed with another master key, or was damaged")]
    CannotOpen,
}

impl MasterKey {
    /// Reads the key from its base64 text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| KeyError::Malformed)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Malformed)
    }

    /// The secret for one purpose.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, purpose.as_bytes());
        Secret(tag.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Encrypts a secret for the database: nonce, then ciphertext and tag.
    #[must_use]
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut text = plain.to_vec();
        let nonce = self
            .sealing()
            .seal_in_place_append_tag(Aad::empty(), &mut text)
            .expect("a key of a few bytes is within the cipher's limits");
        [nonce.as_ref().as_slice(), &text].concat()
    }

    /// Decrypts what [`Self::seal`] made.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::CannotOpen)?;
        let mut text = text.to_vec();
        let plain = self
            .sealing()
            .open_in_place(nonce, Aad::empty(), &mut text)
            .map_err(|_| KeyError::CannotOpen)?;
        Ok(plain.to_vec())
    }

    fn sealing(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &self.derive("seal").0)
            .expect("AES-256 takes 32 bytes")
    }
}

/// A derived secret of 32 bytes. Has no `Debug`, so that it cannot be logged.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The bytes, for a library that wants them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA256 over the parts, each preceded by its length so that no two lists collide.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Whether `mac` is the [`Self::mac`] of the parts, compared in constant time.
    #[must_use]
    pub fn proves(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.mac(parts), mac).is_ok()
    }
}

/// SHA-256, enough to store a secret that is too random to be guessed.
#[must_use]
pub fn digest(secret: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Random bytes from the operating system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_own_key() {
        let key = MasterKey(random());
        let sealed = key.seal(b"private");
        assert_eq!(key.open(&sealed).unwrap(), b"private");
        assert!(MasterKey(random()).open(&sealed).is_err());
        assert!(key.open(&sealed[..5]).is_err());
        assert!(MasterKey::parse("short").is_err());
    }
}
