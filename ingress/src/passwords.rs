//! Passwords: hashed with argon2id, a few at a time, on threads that serve no requests.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use contract::api::problem::Code;
use platform::http::{ApiError, ApiResult};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

/// Parameters that OWASP recommends: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How long a request waits for its turn before it is refused.
pub(crate) const TURN_WAIT: Duration = Duration::from_secs(5);
/// Most requests that wait for each hash that runs: fewer get their turn within [`TURN_WAIT`].
const WAITING_EACH: usize = 100;

/// A slot in the queue of [`Passwords`].
pub(crate) struct QueueSlot(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// Hashes and checks passwords. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    argon: Argon2<'static>,
    turns: Arc<Semaphore>,
    /// Bounds the requests that wait or have their turn.
    slots: Arc<Semaphore>,
    /// The hash of a random password. It is checked where there is no account, so that the time of
    /// an answer does not tell whether there is one.
    nobodys: Arc<str>,
}

impl Passwords {
    /// At most `at_once` hashes run at the same time.
    pub(crate) fn new(at_once: usize) -> anyhow::Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
            .map_err(|error| anyhow!("argon2 refuses its parameters: {error}"))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobodys = hash(&argon, &contract::keys::random::<32>())?;
        let at_once = at_once.max(1);
        let slots = at_once.saturating_mul(WAITING_EACH + 1).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            argon,
            turns: Arc::new(Semaphore::new(at_once)),
            slots: Arc::new(Semaphore::new(slots)),
            nobodys: nobodys.into(),
        })
    }

    /// A slot in the queue; taken before the database is asked for the request.
    pub(crate) fn slot(&self) -> ApiResult<QueueSlot> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map(QueueSlot).map_err(|_| busy("full"))
    }

    /// The hash to store, as a PHC string.
    pub(crate) async fn hash(&self, password: String) -> ApiResult<String> {
        let argon = self.argon.clone();
        let hashed = self.in_turn(self.slot()?, move || hash(&argon, password.as_bytes()));
        hashed.await?.map_err(ApiError::internal)
    }

    /// Whether the password has this hash. Without a hash the answer is no, after the same time.
    pub(crate) async fn matches(
        &self,
        slot: QueueSlot,
        password: String,
        hash: Option<String>,
    ) -> ApiResult<bool> {
        let (argon, nobodys) = (self.argon.clone(), Arc::clone(&self.nobodys));
        self.in_turn(slot, move || {
            let known = hash.as_deref().and_then(|hash| PasswordHash::new(hash).ok());
            let nobody = PasswordHash::new(&nobodys);
            match (known, nobody) {
                (Some(known), _) => argon.verify_password(password.as_bytes(), &known).is_ok(),
                (None, Ok(nobody)) => {
                    _ = argon.verify_password(password.as_bytes(), &nobody);
                    false
                }
                (None, Err(_)) => false,
            }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        slot: QueueSlot,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> ApiResult<T> {
        let waiting = Waiting::begin();
        let turn = timeout(TURN_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        drop(waiting);
        let Ok(Ok(turn)) = turn else { return Err(busy("late")) };
        let done = spawn_blocking(move || {
            let result = work();
            // The work holds the turn, not the request: a hash goes on if the client goes away.
            drop((turn, slot));
            result
        });
        done.await.map_err(ApiError::internal)
    }
}

/// The answer 503 where a request has waited too long, or too many wait.
pub(crate) fn busy(why: &'static str) -> ApiError {
    metrics::counter!("usher_password_turns_refused_total", "why" => why).increment(1);
    let detail = "too many people are signing in; try again";
    ApiError::unavailable(Code::SignInBusy, detail, TURN_WAIT.as_secs())
}

/// Counts one request that waits for its turn, until it is dropped.
pub(crate) struct Waiting;

impl Waiting {
    pub(crate) fn begin() -> Self {
        metrics::gauge!("usher_password_turns_waiting").increment(1.0);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!("usher_password_turns_waiting").decrement(1.0);
    }
}

fn hash(argon: &Argon2<'_>, password: &[u8]) -> anyhow::Result<String> {
    let hash = argon.hash_password(password).map_err(|error| anyhow!("argon2 failed: {error}"))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let matches =
            |text: &str, hash| passwords.matches(passwords.slot().unwrap(), text.into(), hash);
        assert!(matches("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!matches("battery staple", Some(hash)).await.unwrap());
        assert!(!matches("", None).await.unwrap());
        assert!(!matches("!", Some(store::accounts::NO_PASSWORD.into())).await.unwrap());
    }
}
