//! Which tokens are valid: signed by this installation, not expired and not ended. Only this file
//! decides that.
//!
//! Tokens are checked offline. Revocations are in memory, kept fresh by a follower of the database
//! (`store::revocations`). They are bounded by the lifetime of tokens and by number. An open socket
//! [watches](Access::watch) its token and ends with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use contract::{
    AccountId,
    access::{AccessKeys, Role, TOKEN_LIFETIME_MAX, Token},
    api::problem::Code,
    keys::MasterKey,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{ApiError, ApiResult};
use crate::{clock, number::float};

/// Most accounts whose revocations are kept. Beyond it, the oldest revocation is forgotten and
/// every older token, of any account, is refused: its owner has to refresh it.
const REVOKED_MAX: usize = 100_000;
/// Most by which the clock of the node that made a token and the database's clock may differ.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::seconds(10);
/// A node that has not read the revocations for this long refuses administrators.
pub const BLIND_MAX: Duration = Duration::from_secs(10);

/// The end of an account's tokens: those of a generation below `valid_from` are no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub account: AccountId,
    pub valid_from: i64,
    pub revoked_at: DateTime<Utc>,
}

/// Says whose a token is, and whether it is valid. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    keys: Arc<AccessKeys>,
    revocations: Revocations,
}

impl Access {
    /// Checks tokens with the installation's key and these revocations.
    #[must_use]
    pub fn new(master: &MasterKey, revocations: Revocations) -> Self {
        Self { keys: Arc::new(AccessKeys::new(master)), revocations }
    }

    /// Signs a token.
    #[must_use]
    pub fn sign(&self, token: &Token) -> String {
        self.keys.sign(token)
    }

    /// Reads a valid token; 401 for any other.
    pub fn verify(&self, text: &str) -> ApiResult<Token> {
        let token = self.keys.verify(text, clock::now()).ok_or_else(ApiError::unauthenticated)?;
        if self.revocations.read().ended(&token) {
            metrics::counter!("usher_tokens_refused_total", "why" => "revoked").increment(1);
            return Err(ApiError::unauthenticated());
        }
        Ok(token)
    }

    /// Whether the token is an admin's; 503 if this node cannot know whether the account still is
    /// one.
    pub fn is_admin(&self, token: &Token) -> ApiResult<bool> {
        if token.role != Role::Admin {
            return Ok(false);
        }
        if self.revocations.age() > BLIND_MAX {
            metrics::counter!("usher_tokens_refused_total", "why" => "blind").increment(1);
            let detail = "whether this account is an administrator is not known now; try again";
            return Err(ApiError::unavailable(Code::DatabaseUnavailable, detail, 2));
        }
        Ok(true)
    }

    /// Registers a socket or stream that stays open only as long as its token is valid.
    #[must_use]
    pub fn watch(&self, token: Token) -> TokenWatch {
        let left = (token.expires_at - clock::now()).to_std().unwrap_or_default();
        let ended = CancellationToken::new();
        let mut known = self.revocations.write();
        // The token may have ended since it was verified.
        if known.ended(&token) {
            ended.cancel();
        }
        known.next_id += 1;
        let id = known.next_id;
        let watched = Watched { id, token, ended: ended.clone() };
        known.watched.entry(token.account).or_default().push(watched);
        drop(known);
        let expires_at = Instant::now() + left;
        let revocations = self.revocations.clone();
        TokenWatch { id, account: token.account, expires_at, ended, revocations }
    }
}

/// Tells an open socket when its token ends. Dropping it takes the socket off the register.
pub struct TokenWatch {
    id: u64,
    account: AccountId,
    expires_at: Instant,
    ended: CancellationToken,
    revocations: Revocations,
}

impl TokenWatch {
    /// Resolves, with the reason, once the token is no longer valid.
    pub async fn ended(&self) -> &'static str {
        tokio::select! {
            () = self.ended.cancelled() => "the token has ended; sign in again",
            () = sleep_until(self.expires_at) => "the token has expired; connect again with a new one",
        }
    }
}

impl Drop for TokenWatch {
    fn drop(&mut self) {
        let mut known = self.revocations.write();
        if let Some(mine) = known.watched.get_mut(&self.account) {
            mine.retain(|watched| watched.id != self.id);
            if mine.is_empty() {
                known.watched.remove(&self.account);
            }
        }
    }
}

/// The recent revocations, and the open sockets that they may end. Cheap to clone.
#[derive(Clone)]
pub struct Revocations(Arc<RwLock<Known>>);

struct Known {
    accounts: HashMap<AccountId, Revocation>,
    by_time: BTreeSet<(DateTime<Utc>, AccountId)>,
    /// Tokens of any account that were made before this are refused.
    floor: Option<DateTime<Utc>>,
    read_at: Instant,
    /// Bounded by the listener's connections.
    watched: HashMap<AccountId, Vec<Watched>>,
    next_id: u64,
}

struct Watched {
    id: u64,
    token: Token,
    ended: CancellationToken,
}

impl Default for Revocations {
    /// No revocations are known, and they count as just read.
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Known {
            accounts: HashMap::new(),
            by_time: BTreeSet::new(),
            floor: None,
            read_at: Instant::now(),
            watched: HashMap::new(),
            next_id: 0,
        })))
    }
}

impl Revocations {
    /// Adds revocations, and tells the sockets whose tokens they end.
    pub fn add(&self, revocations: &[Revocation]) {
        let mut known = self.write();
        for revocation in revocations {
            known.add(*revocation, REVOKED_MAX);
        }
        metrics::gauge!("usher_revocations").set(float(known.accounts.len()));
    }

    /// Notes that every revocation committed before `began` has been read. `now` is the database's
    /// time.
    pub fn is_read(&self, began: Instant, now: DateTime<Utc>) {
        let mut known = self.write();
        known.read_at = began;
        known.forget_before(now - lifetime_max());
    }

    /// How long ago the last whole reading began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.read().read_at.elapsed()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn ended(&self, token: &Token) -> bool {
        let of_account = self.accounts.get(&token.account);
        of_account.is_some_and(|revocation| token.generation < revocation.valid_from)
            || self.floor.is_some_and(|floor| token.issued_at.is_none_or(|at| at < floor))
    }

    fn add(&mut self, new: Revocation, accounts_max: usize) {
        let known = self.accounts.get(&new.account);
        if known.is_some_and(|known| known.valid_from >= new.valid_from) {
            return;
        }
        if let Some(known) = self.accounts.insert(new.account, new) {
            self.by_time.remove(&(known.revoked_at, known.account));
        }
        self.by_time.insert((new.revoked_at, new.account));
        for watched in self.watched.get(&new.account).into_iter().flatten() {
            if watched.token.generation < new.valid_from {
                watched.ended.cancel();
            }
        }
        if self.accounts.len() > accounts_max {
            self.raise_floor();
        }
    }

    /// Forgets the oldest revocation and refuses every token that is as old.
    fn raise_floor(&mut self) {
        let Some((oldest, account)) = self.by_time.pop_first() else { return };
        self.accounts.remove(&account);
        let floor = oldest + CLOCKS_APART_MAX;
        if self.floor.is_some_and(|lower| floor <= lower) {
            return;
        }
        metrics::counter!("usher_revocations_floor_raised_total").increment(1);
        self.floor = Some(floor);
        for watched in self.watched.values().flatten() {
            if watched.token.issued_at.is_none_or(|at| at < floor) {
                watched.ended.cancel();
            }
        }
    }

    /// Forgets revocations of before `time`: the tokens that they ended have expired.
    fn forget_before(&mut self, time: DateTime<Utc>) {
        while let Some((oldest, account)) = self.by_time.first().copied()
            && oldest < time
        {
            self.by_time.pop_first();
            self.accounts.remove(&account);
        }
        self.floor = self.floor.filter(|floor| *floor >= time);
    }
}

fn lifetime_max() -> TimeDelta {
    TimeDelta::from_std(TOKEN_LIFETIME_MAX).expect("a day") + CLOCKS_APART_MAX * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + s, 0).unwrap()
    }

    fn token(account: AccountId, generation: i64, issued_at: i64) -> Token {
        Token {
            account,
            role: Role::User,
            generation,
            session: None,
            issued_at: Some(at(issued_at)),
            expires_at: clock::now() + Duration::from_mins(15),
        }
    }

    fn master() -> MasterKey {
        MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()
    }

    fn revoked(account: AccountId, valid_from: i64, s: i64) -> Revocation {
        Revocation { account, valid_from, revoked_at: at(s) }
    }

    #[test]
    fn what_ended_is_refused_until_no_token_of_that_time_is_left() {
        let revocations = Revocations::default();
        let (account, other) = (AccountId::new(), AccountId::new());
        revocations.add(&[revoked(account, 2, 0)]);
        // A revocation that is read again, or an older one that was committed late, changes
        // nothing.
        revocations.add(&[revoked(account, 2, 0), revoked(account, 1, -5)]);
        let ended = |token: &Token| revocations.read().ended(token);
        assert!(ended(&token(account, 0, -9)) && ended(&token(account, 1, -9)));
        assert!(!ended(&token(account, 2, 1)), "of after it");
        assert!(!ended(&token(other, 0, -9)), "somebody else's");
        revocations.is_read(Instant::now(), at(86_400));
        assert!(ended(&token(account, 0, -9)), "a day is not over");
        revocations.is_read(Instant::now(), at(86_400) + CLOCKS_APART_MAX * 3);
        assert!(!ended(&token(account, 0, -9)));
        assert!(revocations.read().accounts.is_empty() && revocations.read().by_time.is_empty());
    }

    #[test]
    fn past_the_bound_everything_of_before_the_oldest_is_refused() {
        let revocations = Revocations::default();
        let accounts: Vec<AccountId> = (0..4).map(|_| AccountId::new()).collect();
        for (s, account) in (0..).zip(&accounts) {
            revocations.write().add(revoked(*account, 1, s * 100), 2);
        }
        let known = revocations.read();
        assert_eq!((known.accounts.len(), known.by_time.len()), (2, 2));
        for account in &accounts {
            assert!(known.ended(&token(*account, 0, -1)), "what is forgotten stays refused");
        }
        let anybody = AccountId::new();
        assert!(known.ended(&token(anybody, 0, 100)) && !known.ended(&token(anybody, 0, 111)));
        let before_generations = Token { issued_at: None, ..token(anybody, 0, 0) };
        assert!(known.ended(&before_generations));
    }

    #[tokio::test]
    async fn whoever_stands_on_a_token_hears_when_it_ends() {
        let revocations = Revocations::default();
        let access = Access::new(&master(), revocations);
        let account = AccountId::new();
        let old = access.watch(token(account, 0, 0));
        let soon = clock::now() + Duration::from_millis(50);
        let new = access.watch(Token { expires_at: soon, ..token(account, 1, 0) });
        access.revocations.add(&[revoked(account, 1, 10)]);
        assert_eq!(old.ended().await, "the token has ended; sign in again");
        let late = access.watch(token(account, 0, 0));
        assert_eq!(late.ended().await, "the token has ended; sign in again");
        assert!(!new.ended.is_cancelled());
        assert!(new.ended().await.starts_with("the token has expired"));
        drop((old, new, late));
        assert!(access.revocations.read().watched.is_empty());
    }

    #[test]
    fn a_node_that_reads_no_revocations_lets_nobody_administrate() {
        let access = Access::new(&master(), Revocations::default());
        let user = token(AccountId::new(), 0, 0);
        let admin = Token { role: Role::Admin, ..user };
        assert!(access.is_admin(&admin).unwrap() && !access.is_admin(&user).unwrap());
        access.revocations.write().read_at -= BLIND_MAX + Duration::from_secs(1);
        assert_eq!(access.is_admin(&admin).unwrap_err().code(), Code::DatabaseUnavailable);
        assert!(!access.is_admin(&user).unwrap(), "whoever is none is told so");
        access.revocations.is_read(Instant::now(), at(0));
        assert!(access.is_admin(&admin).unwrap());
    }
}
