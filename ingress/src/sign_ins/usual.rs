//! In which networks an account was used before, remembered for a month or two: bits in two strings
//! of Redis, of which one is of this month and one of the month before. They have one size, however
//! many accounts there are. That a network is known which is not happens to one in some hundred
//! where millions are; it gives a guesser a few guesses more.

use std::time::Duration;

use aws_lc_rs::hmac;
use contract::keys::MasterKey;
use platform::{cache::Cache, clock, http::limits::Network};
use redis::Pipeline;

/// The bits of one string: 8 MiB.
const BITS: u32 = 1 << 26;
/// So many of them stand for an account in a network.
const BITS_EACH: usize = 4;
const MONTH: Duration = Duration::from_hours(30 * 24);

/// An e-mail address, as far as it must be known here.
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

    /// Whose e-mail address it would be.
    pub(super) fn person(&self, email: &str) -> Person {
        let tag = hmac::sign(&self.key, email.trim().to_lowercase().as_bytes());
        Person(tag.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether the account was used there before. Where Redis does not say, it was not.
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

    /// Remembers it, for a month after anybody was remembered last; where Redis is away, the next
    /// time.
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

/// The keys of the month of this second and of the one before.
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
