//! Wrong passwords are limited, right ones hardly. Whoever guesses at one account is stopped, from
//! however many addresses; its owner still gets in from where the account was used before. Whoever
//! guesses at many accounts is stopped at the address, and its customers still get in.
//!
//! Counted for the e-mail address as it was sent, so that it makes no difference whether there is
//! an account. Each node counts for itself.

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

use crate::limits::LimitSettings;
use usual::{Person, UsualNetworks};

/// Wrong passwords for one account, from anywhere; and again as many from each network in which
/// the account was used before.
const FAILURES: u32 = 10;
const FAILURES_WITHIN: std::time::Duration = std::time::Duration::from_mins(15);
/// Sign-ins of one account, right or wrong: each takes a hash.
const TRIES_PER_MINUTE: u32 = 60;

/// Who may try a password.
pub(crate) struct SignIns {
    usual: UsualNetworks,
    of_account: Arc<Limiter<Person>>,
    of_account_at_home: Arc<Limiter<(Person, Network)>>,
    of_address: Arc<Limiter<Network>>,
    of_address_at_home: Arc<Limiter<Network>>,
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
        // People mistype, and a carrier has thousands of them behind an address.
        let of_address = Quota::per_minute(per_minute).at_once(per_minute.saturating_mul(4));
        let at_home = Quota::per_minute(per_minute.saturating_mul(10));
        let tries = Quota::per_minute(TRIES_PER_MINUTE);
        Self {
            usual: UsualNetworks::new(master, cache),
            of_account: Limiter::start("failed-sign-ins", "account", failures, shutdown),
            of_account_at_home: Limiter::start(
                "failed-sign-ins-at-home",
                "account",
                failures,
                shutdown,
            ),
            of_address: Limiter::start("failed-sign-ins", "address", of_address, shutdown),
            of_address_at_home: Limiter::start(
                "failed-sign-ins-at-home",
                "address",
                at_home,
                shutdown,
            ),
            tries: Limiter::start("sign-in-tries", "account", tries, shutdown),
        }
    }

    /// Lets somebody try a password, or says when to come back. A try counts as failed until it is
    /// said to be none.
    pub(crate) async fn try_password(&self, email: &str, address: IpAddr) -> ApiResult<Try<'_>> {
        let person = self.usual.person(email);
        let (network, around) = (Network::of(address), Network::around(address));
        let counted = match self.away(person, network) {
            Ok(counted) => counted,
            Err(_) if self.usual.knows(person, around).await => {
                self.at_home(person, network, around)?
            }
            Err(refusal) => return Err(refusal),
        };
        let tried = Try { sign_ins: self, person, around, counted };
        match self.tries.take(&person) {
            Ok(()) => Ok(tried),
            Err(refusal) => {
                tried.give_back();
                Err(refusal)
            }
        }
    }

    fn away(&self, person: Person, network: Network) -> ApiResult<Counted> {
        self.of_account.take(&person)?;
        self.of_address
            .take(&network)
            .inspect_err(|_| self.of_account.give_back(&person))
            .map(|()| Counted::Away(network))
    }

    fn at_home(&self, person: Person, network: Network, around: Network) -> ApiResult<Counted> {
        self.of_account_at_home.take(&(person, around))?;
        self.of_address_at_home
            .take(&network)
            .inspect_err(|_| self.of_account_at_home.give_back(&(person, around)))
            .map(|()| Counted::AtHome(network))
    }

    /// Remembers where somebody has proved to be the owner of an account.
    pub(crate) async fn is_at_home(&self, email: &str, address: IpAddr) {
        self.usual.add(self.usual.person(email), Network::around(address)).await;
    }
}

/// How a try was counted, and at which address.
enum Counted {
    Away(Network),
    AtHome(Network),
}

/// A password is being tried. Dropped, it was wrong.
pub(crate) struct Try<'s> {
    sign_ins: &'s SignIns,
    person: Person,
    around: Network,
    counted: Counted,
}

impl Try<'_> {
    /// The password was right: nothing was used up.
    pub(crate) async fn succeeded(self) {
        self.give_back();
        self.sign_ins.usual.add(self.person, self.around).await;
    }

    /// It could not be found out: nothing was used up either.
    pub(crate) fn give_back(&self) {
        let Self { sign_ins, person, around, counted } = self;
        match counted {
            Counted::Away(network) => {
                sign_ins.of_account.give_back(person);
                sign_ins.of_address.give_back(network);
            }
            Counted::AtHome(network) => {
                sign_ins.of_account_at_home.give_back(&(*person, *around));
                sign_ins.of_address_at_home.give_back(network);
            }
        }
    }
}
