//! Challenges: what a client must solve before it is given a new place. Off by default.
//!
//! There is one, the [`ProofOfWork`]. It is stateless: the challenge is signed and bound to an
//! account and a show. The caller makes sure that a solution is used once.

use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use contract::{
    AccountId, ShowId,
    api::line::Posed,
    keys::{MasterKey, Secret, random},
};

use crate::config::ChallengeKind;

/// Time to solve a challenge.
const LIFETIME: TimeDelta = TimeDelta::minutes(2);
/// Longest solution that is checked.
const SOLUTION_BYTES_MAX: usize = 256;

/// Who joins what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    pub(crate) show: ShowId,
    pub(crate) account: AccountId,
    pub(crate) now: DateTime<Utc>,
}

/// The id of a solved challenge, by which a second use is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Solved {
    pub(crate) id: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The challenge of these settings; `None` where challenges are off.
pub(crate) fn new(kind: ChallengeKind, bits: u8, master: &MasterKey) -> Option<ProofOfWork> {
    match kind {
        ChallengeKind::Off => None,
        ChallengeKind::ProofOfWork => {
            Some(ProofOfWork { bits, secret: master.derive("challenge") })
        }
    }
}

/// A number that can only be found by trying, and is checked with one hash.
pub(crate) struct ProofOfWork {
    bits: u8,
    secret: Secret,
}

impl ProofOfWork {
    /// Poses a challenge to a visitor who joins.
    pub(crate) fn pose(&self, joining: Joining) -> Posed {
        let expires_at = joining.now + LIFETIME;
        let nonce = BASE64_URL_SAFE_NO_PAD.encode(random::<12>());
        let signature = self.sign(joining, expires_at.timestamp(), &nonce);
        let challenge = format!("{}.{nonce}.{signature}", expires_at.timestamp());
        Posed::ProofOfWork { challenge, bits: self.bits, expires_at }
    }

    /// Checks a solution; `None` where it is wrong.
    pub(crate) fn check(&self, joining: Joining, solution: &str) -> Option<Solved> {
        if solution.len() > SOLUTION_BYTES_MAX {
            return None;
        }
        let mut parts = solution.split('.');
        let expires_s: i64 = parts.next()?.parse().ok()?;
        let (nonce, signature, number) = (parts.next()?, parts.next()?, parts.next()?);
        let _: u64 = number.parse().ok()?;
        let expires_at = DateTime::from_timestamp(expires_s, 0)?;
        let expected = self.sign(joining, expires_s, nonce);
        let signed =
            constant_time::verify_slices_are_equal(expected.as_bytes(), signature.as_bytes());
        let hash = digest::digest(&digest::SHA256, solution.as_bytes());
        let is_solved = parts.next().is_none()
            && signed.is_ok()
            && joining.now < expires_at
            && zero_bits(hash.as_ref()) >= u32::from(self.bits);
        is_solved.then(|| Solved { id: nonce.to_owned(), expires_at })
    }

    /// The signature over the expiry, the nonce and the bits, so that a client cannot make the work
    /// easier.
    fn sign(&self, joining: Joining, expires_s: i64, nonce: &str) -> String {
        let mac = self.secret.mac(&[
            joining.show.0.as_bytes(),
            joining.account.0.as_bytes(),
            &expires_s.to_be_bytes(),
            &[self.bits],
            nonce.as_bytes(),
        ]);
        BASE64_URL_SAFE_NO_PAD.encode(&mac[..16])
    }
}

fn zero_bits(hash: &[u8]) -> u32 {
    let zeros = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(zeros).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zeros).map_or(u32::MAX, |zeros| zeros * 8 + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof_of_work() -> ProofOfWork {
        let master = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        ProofOfWork { bits: 8, secret: master.derive("challenge") }
    }

    fn joining() -> Joining {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Joining { show: ShowId::new(), account: AccountId::new(), now }
    }

    fn solve(challenge: &str, bits: u32) -> String {
        let mut tries = (0..10_000_000u64).map(|number| format!("{challenge}.{number}"));
        let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
        tries.find(|text| zero_bits(hash(text).as_ref()) >= bits).unwrap()
    }

    #[test]
    fn a_solution_is_good_for_one_account_and_show_for_a_while() {
        let (work, me) = (proof_of_work(), joining());
        let Posed::ProofOfWork { challenge, bits, expires_at } = work.pose(me);
        assert_eq!((bits, expires_at), (8, me.now + LIFETIME));
        let solution = solve(&challenge, 8);
        let solved = work.check(me, &solution).unwrap();
        assert_eq!(Some(solved.id.as_str()), challenge.split('.').nth(1));
        for other in [
            Joining { account: AccountId::new(), ..me },
            Joining { show: ShowId::new(), ..me },
            Joining { now: expires_at, ..me },
        ] {
            assert_eq!(work.check(other, &solution), None, "{other:?}");
        }
        let harder = ProofOfWork { bits: 9, ..proof_of_work() };
        assert_eq!(harder.check(me, &solution), None, "posed when it was easier");
    }

    #[test]
    fn what_is_no_solution_is_none() {
        let (work, me) = (proof_of_work(), joining());
        let Posed::ProofOfWork { challenge, .. } = work.pose(me);
        let solution = solve(&challenge, 8);
        let later = challenge.replacen("18", "28", 1);
        let is_unsolved = |text: &String| {
            zero_bits(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) < 8
        };
        let mut tries = (0..1000).map(|number| format!("{challenge}.{number}"));
        let unsolved = tries.find(is_unsolved).unwrap();
        for wrong in [
            String::new(),
            challenge.clone(),
            format!("{challenge}.x"),
            format!("{solution}.1"),
            solve(&later, 8),
            "x".repeat(10_000),
            unsolved,
        ] {
            assert_eq!(work.check(me, &wrong), None, "{wrong}");
        }
        assert_eq!(zero_bits(&[0, 0, 0b0001_0000]), 19);
        assert_eq!(zero_bits(&[0, 0]), 16);
    }
}
