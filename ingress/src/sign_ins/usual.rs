//! The networks in which an account was used before, remembered for a month or two in two Bloom
//! filters: one string of bits in Redis for this month and one for the month before. Their size
//! does not grow with the accounts. With millions of entries about one unknown network in a hundred
//! counts as known, which gives a guesser a few more guesses.

use std::time::Duration;

use aws_lc_rs::hmac;
use contract::keys::MasterKey;
use platform::{cache::Cache, clock, http::limits::Network};
use redis::Pipeline;

/// Bits of one filter: 8 MiB.
const BITS: u32 = 1 << 26;
/// Bits that are set for an account in a network.
const BITS_EACH: usize = 4;
const MONTH: Duration = Duration::from_hours(30 * 24);

/// A keyed hash of an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Person([u8; 16]);

pub(super) struct UsualNetworks {
    key: hmac::Key,
    cache: Cache,
}

impl UsualNetworks {
    pub(super) fn new(master: &MasterKey, cache: Cache) -> Self {
        let secret = master.derive("sign-in");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), cache }
    }

    /// The hash of an e-mail address, whether or not there is an account.
    pub(super) fn person(&self, email: &str) -> Person {
        let tag = hmac::sign(&self.key, email.trim().to_lowercase().as_bytes());
        Person(tag.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether the account was used in the network before; `false` if Redis does not answer.
    pub(super) async fn knows(&self, person: Person, network: Network) -> bool {
        let places = self.places(person, network);
        let (this, before) = months(clock::now().timestamp());
        let mut look = Pipeline::new();
        for key in [this, before] {
            for place in places {
                look.cmd("GETBIT").arg(&key).arg(place);
            }
        }
        let Ok(mut connection) = self.cache.connection() else { return false };
        let found = look.query_async::<Vec<u8>>(&mut connection).await;
        let found = self.cache.observe(found).unwrap_or_default();
        found
            .chunks(BITS_EACH)
            .any(|bits| bits.len() == BITS_EACH && bits.iter().all(|bit| *bit == 1))
    }

    /// Remembers that the account was used in the network. The filter expires a month after its
    /// last entry. If Redis is away, the next sign-in is remembered.
    pub(super) async fn add(&self, person: Person, network: Network) {
        let (this, _) = months(clock::now().timestamp());
        let mut write = Pipeline::new();
        for place in self.places(person, network) {
            write.cmd("SETBIT").arg(&this).arg(place).arg(1).ignore();
        }
        write.cmd("EXPIRE").arg(&this).arg(MONTH.as_secs()).ignore();
        let Ok(mut connection) = self.cache.connection() else { return };
        let _ = self.cache.observe(write.query_async::<()>(&mut connection).await);
    }

    fn places(&self, person: Person, network: Network) -> [u32; BITS_EACH] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&person.0);
        context.update(network.to_string().as_bytes());
        let tag = context.sign();
        let mut words = tag.as_ref().chunks_exact(4);
        std::array::from_fn(|_| {
            let word = words.next().expect("SHA-256 has eight words");
            u32::from_be_bytes(word.try_into().expect("a chunk of four")) % BITS
        })
    }
}

/// The Redis keys of the month of this second and of the month before.
fn months(seconds: i64) -> (String, String) {
    let month = seconds / i64::try_from(MONTH.as_secs()).unwrap_or(i64::MAX);
    let key = |month: i64| format!("sign-in:usual:{month}");
    (key(month), key(month - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_in_a_month_is_looked_for_until_the_end_of_the_next() {
        let month = i64::try_from(MONTH.as_secs()).unwrap();
        let (written, _) = months(100 * month);
        assert_eq!(months(101 * month - 1).0, written);
        assert_eq!(months(102 * month - 1).1, written);
        assert_ne!(months(102 * month).1, written);
    }
}
