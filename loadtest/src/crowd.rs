//! A crowd of visitors: makes them and sends them, spread over the time of arrival.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use contract::{ShowId, api::accounts::Signup};
use fastrand::Rng;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

use crate::{Client, Journal, Tally, plan::Plan, tally::VisitEnd, visitor::Visitor};

/// Longest visit; after that a visitor counts as stuck.
const PATIENCE: Duration = Duration::from_mins(30);

/// A crowd that wants seats of one show.
#[derive(Clone)]
pub struct Crowd {
    pub show: ShowId,
    pub visitors: usize,
    /// All of them arrive within this time.
    pub ramp: Duration,
    /// Most visits at once; further visitors arrive late, and the report says how late.
    pub at_once_max: usize,
    /// The same seed draws the same visitors.
    pub seed: u64,
    /// Whether all stay in the line, take the best seat available and pay.
    pub buyers: bool,
    /// Access tokens of existing accounts. Visitors without one sign up; they are spread evenly
    /// over the crowd, because hashing passwords is slow.
    pub tokens: Vec<String>,
}

impl Crowd {
    /// Sends the crowd and waits until the last visit has ended.
    pub async fn send(&self, client: &Client, tally: &Arc<Tally>, journal: &Arc<Journal>) {
        let mut rng = Rng::with_seed(self.seed);
        let room = Arc::new(Semaphore::new(self.at_once_max));
        let started = Instant::now();
        let mut visits = JoinSet::new();
        let mut tokens = self.tokens.iter();
        for n in 0..self.visitors {
            let plan = if self.buyers { Plan::buyer(&mut rng) } else { Plan::draw(&mut rng) };
            let arrives_at = started + self.arrival(n);
            sleep_until(arrives_at).await;
            let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
            let client = client.from_address(address(n));
            let token = if self.signs_up(n) { None } else { tokens.next() };
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
    }

    fn signs_up(&self, n: usize) -> bool {
        let sign_ups = self.visitors.saturating_sub(self.tokens.len());
        n * sign_ups / self.visitors != (n + 1) * sign_ups / self.visitors
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
mod tests {
    use super::*;

    #[test]
    fn every_visitor_has_an_address_of_its_own() {
        assert_eq!(address(0), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(address(255), Ipv4Addr::new(10, 0, 1, 0));
        assert_eq!(address(99_999), Ipv4Addr::new(10, 1, 134, 160));
    }

    fn crowd(tokens: usize) -> Crowd {
        Crowd {
            show: ShowId::new(),
            visitors: 100,
            ramp: Duration::from_secs(10),
            at_once_max: 10,
            seed: 1,
            buyers: false,
            tokens: vec![String::new(); tokens],
        }
    }

    #[test]
    fn those_without_a_token_sign_up_and_are_spread_over_the_crowd() {
        for tokens in [0, 1, 90, 99, 100, 150] {
            let crowd = crowd(tokens);
            let n = (0..100).filter(|n| crowd.signs_up(*n)).count();
            assert_eq!(n, 100 - tokens.min(100));
        }
        assert_eq!((0..20).filter(|n| crowd(90).signs_up(*n)).count(), 2);
    }

    #[test]
    fn a_crowd_arrives_evenly_over_its_ramp() {
        let crowd = crowd(0);
        assert_eq!(crowd.arrival(0), Duration::ZERO);
        assert_eq!(crowd.arrival(50), Duration::from_secs(5));
    }
}
