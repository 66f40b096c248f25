//! Limits on wrong passwords; right ones are hardly limited. A guesser at one account is stopped,
//! from any number of addresses, but the owner still gets in from networks in which the account was
//! used before. A guesser at many accounts is stopped by address, but accounts that were used there
//! before still get in.
//!
//! Tries are counted by the e-mail address as it was sent, whether or not there is an account. Each
//! node counts for itself.

mod failures;
mod usual;

use std::{net::IpAddr, sync::Arc};

use contract::keys::MasterKey;
use platform::{
    Shutdown,
    cache::Cache,
    http::{
        ApiResult,
        limits::{Limiter, Network, Quota},
    },
};

use tokio::time::{Instant, timeout_at};

use crate::{
    limits::LimitSettings,
    passwords::{self, TURN_WAIT},
};
use failures::{Failures, Full};
use usual::{Person, UsualNetworks};

/// Wrong passwords for one account, from anywhere, and as many more from each network in which the
/// account was used before.
const FAILURES: u32 = 10;
const FAILURES_WITHIN: std::time::Duration = std::time::Duration::from_mins(15);
/// Tries for one account, right or wrong, since each costs a hash.
const TRIES_PER_MINUTE: u32 = 60;

/// The limits on tries of passwords.
pub(crate) struct SignIns {
    usual: UsualNetworks,
    of_account: Arc<Failures<Person>>,
    of_account_at_home: Arc<Failures<(Person, Network)>>,
    of_address: Arc<Failures<Network>>,
    of_address_at_home: Arc<Failures<Network>>,
    tries: Arc<Limiter<Person>>,
}

impl SignIns {
    pub(crate) fn start(
        settings: &LimitSettings,
        master: &MasterKey,
        cache: Cache,
        shutdown: &Shutdown,
    ) -> Self {
        let failures = Quota::within(FAILURES_WITHIN, FAILURES);
        let per_minute = settings.auth_per_minute.get();
        // People mistype, and a mobile carrier has thousands of them behind one address.
        let of_address = Quota::per_minute(per_minute).at_once(per_minute.saturating_mul(4));
        let at_home = Quota::per_minute(per_minute.saturating_mul(10));
        let tries = Quota::per_minute(TRIES_PER_MINUTE);
        Self {
            usual: UsualNetworks::new(master, cache),
            of_account: Failures::start("failed-sign-ins", "account", failures, shutdown),
            of_account_at_home: Failures::start(
                "failed-sign-ins-at-home",
                "account",
                failures,
                shutdown,
            ),
            of_address: Failures::start("failed-sign-ins", "address", of_address, shutdown),
            of_address_at_home: Failures::start(
                "failed-sign-ins-at-home",
                "address",
                at_home,
                shutdown,
            ),
            tries: Limiter::start("sign-in-tries", "account", tries, shutdown),
        }
    }

    /// Begins a try of a password, or says when to come back. A try counts as failed until it is
    /// known to be right.
    pub(crate) async fn try_password(&self, email: &str, address: IpAddr) -> ApiResult<Try<'_>> {
        let person = self.usual.person(email);
        let (network, around) = (Network::of(address), Network::around(address));
        let counted = self.room(person, network, around).await?;
        let tried = Try { sign_ins: self, person, around, counted, has_failed: true };
        match self.tries.take(&person) {
            Ok(()) => Ok(tried),
            Err(refusal) => {
                tried.give_back();
                Err(refusal)
            }
        }
    }

    /// Counts a try, once the tries under way leave room for it.
    async fn room(&self, person: Person, network: Network, around: Network) -> ApiResult<Counted> {
        let (until, mut is_known) = (Instant::now() + TURN_WAIT, None);
        loop {
            let away = match self.away(person, network) {
                Ok(counted) => return Ok(counted),
                Err(full) => full,
            };
            if is_known.is_none() {
                is_known = Some(self.usual.knows(person, around).await);
            }
            let full = match is_known {
                Some(true) => match (self.at_home(person, network, around), away) {
                    (Ok(counted), _) => return Ok(counted),
                    (Err(Full::Failed(_)), Full::Waits(ended)) => Full::Waits(ended),
                    (Err(full), _) => full,
                },
                _ => away,
            };
            let mut ended = match full {
                Full::Failed(refusal) => return Err(refusal),
                Full::Crowded => return Err(passwords::busy("full")),
                Full::Waits(ended) => ended,
            };
            let _waiting = passwords::Waiting::begin();
            // `changed` fails once the last try under way has ended; then `away` finds room.
            if timeout_at(until, ended.changed()).await.is_err() {
                return Err(passwords::busy("late"));
            }
        }
    }

    fn away(&self, person: Person, network: Network) -> Result<Counted, Full> {
        self.of_account.begin(&person)?;
        self.of_address
            .begin(&network)
            .inspect_err(|_| self.of_account.end(&person, false))
            .map(|()| Counted::Away(network))
    }

    fn at_home(&self, person: Person, network: Network, around: Network) -> Result<Counted, Full> {
        self.of_account_at_home.begin(&(person, around))?;
        self.of_address_at_home
            .begin(&network)
            .inspect_err(|_| self.of_account_at_home.end(&(person, around), false))
            .map(|()| Counted::AtHome(network))
    }

    /// Remembers the network in which the owner of an account has signed in.
    pub(crate) async fn is_at_home(&self, email: &str, address: IpAddr) {
        self.usual.add(self.usual.person(email), Network::around(address)).await;
    }
}

/// Which limits a try was counted against, and its address.
enum Counted {
    Away(Network),
    AtHome(Network),
}

/// A try of a password that is under way. If it is dropped, the password was wrong.
pub(crate) struct Try<'s> {
    sign_ins: &'s SignIns,
    person: Person,
    around: Network,
    counted: Counted,
    has_failed: bool,
}

impl Try<'_> {
    /// Ends a try with its result: the account, or `None` where the password was wrong. A try that
    /// ended in an error does not count.
    pub(crate) async fn ended<T>(self, proven: ApiResult<Option<T>>) -> ApiResult<Option<T>> {
        match &proven {
            Ok(Some(_)) => {
                let (usual, person, around) = (&self.sign_ins.usual, self.person, self.around);
                self.give_back();
                usual.add(person, around).await;
            }
            Ok(None) => {}
            Err(_) => self.give_back(),
        }
        proven
    }

    fn give_back(mut self) {
        self.has_failed = false;
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        let Self { sign_ins, person, around, counted, has_failed } = self;
        match counted {
            Counted::Away(network) => {
                sign_ins.of_account.end(person, *has_failed);
                sign_ins.of_address.end(network, *has_failed);
            }
            Counted::AtHome(network) => {
                sign_ins.of_account_at_home.end(&(*person, *around), *has_failed);
                sign_ins.of_address_at_home.end(network, *has_failed);
            }
        }
    }
}
