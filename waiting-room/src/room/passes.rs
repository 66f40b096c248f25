//! Passes: any node signs them on demand for a visitor in the log of admissions.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use contract::{ShowId, deadline::PASS_LIFETIMES_MAX, keys::MasterKey, pass::Pass};
use platform::Shutdown;
use store::{Pool, admissions::Admission, keys::PassKeySet, live};
use tokio::sync::watch;

/// Pause after a renewal that failed.
const RENEW_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Until when a pass is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    Until(DateTime<Utc>),
    /// The pass is near its end and its visitor is here: it is renewed until this time.
    Renewed(DateTime<Utc>),
    Expired,
}

/// Signs passes.
#[derive(Clone)]
pub(crate) struct Passes {
    keys: watch::Receiver<Arc<PassKeySet>>,
    lifetime: chrono::Duration,
}

impl Passes {
    /// Follows the signing keys; passes are signed with the newest key that every node knows.
    pub(crate) async fn start(
        pool: &Pool,
        master: &MasterKey,
        lifetime: Duration,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let keys = live::keys::watch(pool, master, shutdown).await?;
        let lifetime = chrono::Duration::from_std(lifetime)?;
        Ok(Self { keys, lifetime })
    }

    /// Until when a pass is valid, as the log knows it.
    pub(crate) fn expiry(&self, admission: &Admission) -> DateTime<Utc> {
        admission.valid_until.unwrap_or(admission.admitted_at + self.lifetime)
    }

    /// How long a pass is still valid, as the log knows it.
    pub(crate) fn left(&self, admission: &Admission, now: DateTime<Utc>) -> Duration {
        (self.expiry(admission) - now).to_std().unwrap_or_default()
    }

    /// Passes of visitors admitted before this time have expired, however often they were renewed.
    pub(crate) fn all_over_before(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - self.lifetime * PASS_LIFETIMES_MAX.cast_signed()
    }

    /// Whether a pass that is valid until `expires_at` is to be renewed, or has expired.
    pub(crate) fn validity(
        &self,
        admission: &Admission,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Validity {
        validity(self.lifetime, admission.admitted_at, expires_at, now)
    }

    /// When to look again at a pass that ends at `expires_at`: once it can be renewed, soon where
    /// renewing it failed, and else after its end.
    pub(crate) fn look_again_in(
        &self,
        admission: &Admission,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Duration {
        if matches!(self.validity(admission, expires_at, now), Validity::Renewed(_)) {
            return RENEW_AGAIN_AFTER;
        }
        let left = (expires_at - now).to_std().unwrap_or_default();
        let early = (self.lifetime / 3).to_std().unwrap_or_default();
        left.checked_sub(early).unwrap_or(left) + Duration::from_secs(1)
    }

    /// A signed pass that is valid from `now`; both ends are by Postgres's clock. `None` where the
    /// installation has no signing key.
    pub(crate) fn sign(
        &self,
        show: ShowId,
        admission: &Admission,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Option<String> {
        let keys = Arc::clone(&self.keys.borrow());
        let pass = Pass {
            show,
            account: admission.account,
            ticket: admission.ticket,
            issued_at: now,
            expires_at,
        };
        keys.sign.as_ref().map(|key| key.sign(&pass))
    }
}

fn validity(
    lifetime: chrono::Duration,
    admitted_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Validity {
    let last = admitted_at + lifetime * PASS_LIFETIMES_MAX.cast_signed();
    if now >= expires_at {
        Validity::Expired
    } else if expires_at - now < lifetime / 3 && expires_at < last {
        Validity::Renewed((expires_at + lifetime).min(last))
    } else {
        Validity::Until(expires_at)
    }
}

#[cfg(test)]
mod tests {
    use contract::{
        AccountId, TicketId,
        pass::{NewKey, PassKeys, SigningKey},
    };

    use super::*;

    #[tokio::test]
    async fn a_pass_begins_by_the_clock_by_which_it_ends() {
        let NewKey { kid, public, private_pkcs8 } = NewKey::generate();
        let sign = Some(SigningKey::new(kid.clone(), &private_pkcs8));
        let verify = PassKeys::new([(kid, public)]);
        let (_set, keys) = watch::channel(Arc::new(PassKeySet { verify: verify.clone(), sign }));
        let passes = Passes { keys, lifetime: chrono::Duration::seconds(300) };
        // A time far behind this node's clock.
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let (show, account, ticket) = (ShowId::new(), AccountId::new(), TicketId::new());
        let admission =
            Admission { ticket, account, admitted_at: now, valid_until: None, spent: None };
        let pass = passes.sign(show, &admission, now, passes.expiry(&admission)).unwrap();
        let verified = verify.verify(&pass, show, account, now).unwrap();
        assert_eq!((verified.issued_at, verified.ticket), (now, ticket));
    }

    #[test]
    fn a_pass_is_renewed_near_its_end_and_lasts_three_lifetimes_at_most() {
        let lifetime = chrono::Duration::seconds(300);
        let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let at = |seconds| start + chrono::Duration::seconds(seconds);
        let of = |expires, now| validity(lifetime, start, at(expires), at(now));
        assert_eq!(of(300, 0), Validity::Until(at(300)));
        assert_eq!(of(300, 199), Validity::Until(at(300)));
        assert_eq!(of(300, 201), Validity::Renewed(at(600)));
        assert_eq!(of(300, 300), Validity::Expired, "who was away comes too late");
        assert_eq!(of(600, 550), Validity::Renewed(at(900)));
        assert_eq!(of(900, 899), Validity::Until(at(900)), "but no further");
        assert_eq!(of(900, 900), Validity::Expired);
    }
}
