//! A crowd of visitors: makes them and sends them, spread over the time of arrival.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use contract::{ShowId, api::accounts::Signup};
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

use crate::{Client, Journal, Tally, plan::Plan, tally::VisitEnd, visitor::Visitor};

/// Longest visit; after that a visitor counts as stuck.
const PATIENCE: Duration = Duration::from_mins(30);

/// A crowd that wants seats of one show, or a share of it.
#[derive(Serialize, Deserialize)]
pub struct Crowd {
    pub show: ShowId,
    /// The visitors of the whole crowd.
    pub visitors: usize,
    /// Which of them are sent.
    pub share: Share,
    /// All of them arrive within this time.
    pub ramp: Duration,
    /// Most visits at once; further visitors arrive late, and the report says how late.
    pub at_once_max: usize,
    /// The same seed draws the same visitors.
    pub seed: u64,
    /// Whether all stay in the line, take the best seat available and pay.
    pub buyers: bool,
    /// Access tokens of existing accounts. Visitors without one sign up; they are spread evenly
    /// over the crowd, because hashing passwords is slow. In a share, those of others are empty.
    pub tokens: Vec<String>,
}

/// Every `of`th visitor of a crowd, from number `nth`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Share {
    pub nth: usize,
    pub of: usize,
}

impl Share {
    /// All visitors.
    pub const WHOLE: Self = Self { nth: 0, of: 1 };

    /// How many of the first `n` visitors belong to the share.
    pub(crate) fn of_first(self, n: usize) -> usize {
        n.saturating_sub(self.nth).div_ceil(self.of)
    }
}

impl Crowd {
    /// Sends the crowd and waits until the last visit has ended.
    pub async fn send(&self, client: &Client, tally: &Arc<Tally>, journal: &Arc<Journal>) {
        let room = Arc::new(Semaphore::new(self.at_once_max));
        let started = Instant::now();
        let mut visits = JoinSet::new();
        for (n, plan) in self.plans() {
            let arrives_at = started + self.arrival(n);
            sleep_until(arrives_at).await;
            let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
            let client = client.from_address(address(n));
            let token = self.token_at(n).map(|at| &self.tokens[at]);
            let visitor = Visitor {
                signs_up: token.is_none().then(|| signup(n)),
                client: token.map_or(client.clone(), |token| client.signed_in(token)),
                show: self.show,
                plan,
                arrives_at,
                tally: Arc::clone(tally),
                journal: Arc::clone(journal),
            };
            let tallies = Arc::clone(tally);
            visits.spawn(async move {
                let visit = timeout(PATIENCE, visitor.visit()).await;
                let stuck = VisitEnd::Failed(format!("no end after {PATIENCE:?}"));
                tallies.end(visit.unwrap_or(stuck));
                drop(permit);
            });
            while let Some(ended) = visits.try_join_next() {
                note_panic(tally, &ended);
            }
        }
        while let Some(ended) = visits.join_next().await {
            note_panic(tally, &ended);
        }
        tally.repeats.add(client.repeats());
    }

    /// The share of the crowd that one of several processes sends.
    pub(crate) fn for_share(&self, share: Share) -> Self {
        let mut tokens = vec![String::new(); self.tokens.len()];
        for at in (share.nth..self.visitors).step_by(share.of).filter_map(|n| self.token_at(n)) {
            tokens[at].clone_from(&self.tokens[at]);
        }
        let at_once_max = share.of_first(self.at_once_max).max(1);
        Self { share, at_once_max, tokens, ..*self }
    }

    /// The visitors to send: their numbers in the whole crowd, and their plans.
    fn plans(&self) -> impl Iterator<Item = (usize, Plan)> {
        let Share { nth, of } = self.share;
        let (mut rng, buyers) = (Rng::with_seed(self.seed), self.buyers);
        (0..self.visitors).filter_map(move |n| {
            // Plans of other shares are drawn, too, so that the following ones are the same.
            let plan = if buyers { Plan::buyer(&mut rng) } else { Plan::draw(&mut rng) };
            (n % of == nth).then_some((n, plan))
        })
    }

    /// Where the token of a visitor stands; `None` if it signs up.
    fn token_at(&self, n: usize) -> Option<usize> {
        let sign_ups = self.visitors.saturating_sub(self.tokens.len());
        let before = n * sign_ups / self.visitors;
        ((n + 1) * sign_ups / self.visitors == before).then_some(n - before)
    }

    fn arrival(&self, n: usize) -> Duration {
        let share = f64::from(u32::try_from(n).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(self.visitors.max(1)).unwrap_or(u32::MAX));
        self.ramp.mul_f64(share)
    }
}

fn note_panic(tally: &Tally, ended: &Result<(), tokio::task::JoinError>) {
    if ended.is_err() {
        tally.end(VisitEnd::Failed("the visitor itself panicked".into()));
    }
}

/// An address of its own for each visitor, within 10.0.0.0/8.
pub(crate) fn address(n: usize) -> Ipv4Addr {
    let [_, a, b, c] =
        u32::try_from(n % 0x00ff_ffff).unwrap_or_default().saturating_add(1).to_be_bytes();
    Ipv4Addr::new(10, a, b, c)
}

fn signup(n: usize) -> Signup {
    Signup {
        name: format!("Visitor {n}"),
        email: format!("visitor.{}@example.com", Uuid::new_v4().simple()),
        password: Uuid::new_v4().to_string(),
        phone: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn every_visitor_has_an_address_of_its_own() {
        assert_eq!(address(0), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(address(255), Ipv4Addr::new(10, 0, 1, 0));
        assert_eq!(address(99_999), Ipv4Addr::new(10, 1, 134, 160));
    }

    /// A crowd of a hundred.
    pub(crate) fn crowd(tokens: usize) -> Crowd {
        Crowd {
            show: ShowId::new(),
            visitors: 100,
            share: Share::WHOLE,
            ramp: Duration::from_secs(10),
            at_once_max: 10,
            seed: 1,
            buyers: false,
            tokens: (0..tokens).map(|n| format!("token {n}")).collect(),
        }
    }

    #[test]
    fn those_without_a_token_sign_up_and_are_spread_over_the_crowd() {
        for tokens in [0, 1, 90, 99, 100, 150] {
            let crowd = crowd(tokens);
            let n = (0..100).filter(|n| crowd.token_at(*n).is_none()).count();
            assert_eq!(n, 100 - tokens.min(100));
        }
        assert_eq!((0..20).filter(|n| crowd(90).token_at(*n).is_none()).count(), 2);
    }

    #[test]
    fn the_shares_of_a_crowd_are_the_whole_crowd() {
        for (tokens, of) in [(90, 2), (0, 3), (100, 10), (150, 64)] {
            let whole = crowd(tokens);
            let visitors = |crowd: &Crowd| -> Vec<_> {
                let token = |n| crowd.token_at(n).map(|at| crowd.tokens[at].clone());
                let plans = crowd.plans();
                plans.map(|(n, plan)| (n, plan, crowd.arrival(n), address(n), token(n))).collect()
            };
            let share = |nth| whole.for_share(Share { nth, of });
            let shares: Vec<Crowd> = (0..of).map(share).collect();
            for share in &shares {
                assert_eq!(visitors(share).len(), share.share.of_first(100));
            }
            let mut all: Vec<_> = shares.iter().flat_map(visitors).collect();
            all.sort_by_key(|(n, ..)| *n);
            assert_eq!(all, visitors(&whole));
            let at_once: usize = shares.iter().map(|share| share.at_once_max).sum();
            assert_eq!(at_once, of.max(10));
            let sent = shares.iter().flat_map(|share| &share.tokens);
            assert_eq!(sent.filter(|token| !token.is_empty()).count(), tokens.min(100));
        }
    }

    #[test]
    fn a_crowd_arrives_evenly_over_its_ramp() {
        let crowd = crowd(0);
        assert_eq!(crowd.arrival(0), Duration::ZERO);
        assert_eq!(crowd.arrival(50), Duration::from_secs(5));
    }
}
