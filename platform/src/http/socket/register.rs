//! The sockets each account has open on this node; past the cap, the oldest gives way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contract::AccountId;
use tokio_util::sync::CancellationToken;

/// All sockets and event streams of a service on this node. Bounded by the listener's connections.
pub struct Sockets {
    per_account_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    accounts: HashMap<AccountId, VecDeque<(u64, CancellationToken)>>,
}

/// One open socket. Dropping it takes it off the register.
pub struct SocketSlot {
    sockets: Arc<Sockets>,
    account: AccountId,
    /// The socket's number on this node.
    pub id: u64,
    /// Cancelled when a newer socket takes the place of this one.
    pub replaced: CancellationToken,
}

impl Sockets {
    #[must_use]
    pub fn new(per_account_max: u32) -> Arc<Self> {
        let per_account_max = usize::try_from(per_account_max).unwrap_or(usize::MAX);
        Arc::new(Self { per_account_max, open: Mutex::default() })
    }

    /// Registers a socket. If the account has too many, its oldest is told to close.
    #[must_use]
    pub fn enter(self: &Arc<Self>, account: AccountId) -> SocketSlot {
        let replaced = CancellationToken::new();
        let mut open = self.open();
        open.next += 1;
        let id = open.next;
        let mine = open.accounts.entry(account).or_default();
        mine.push_back((id, replaced.clone()));
        while mine.len() > self.per_account_max {
            if let Some((_, oldest)) = mine.pop_front() {
                oldest.cancel();
            }
        }
        drop(open);
        SocketSlot { sockets: Arc::clone(self), account, id, replaced }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketSlot {
    fn drop(&mut self) {
        let mut open = self.sockets.open();
        if let Some(mine) = open.accounts.get_mut(&self.account) {
            mine.retain(|(id, _)| *id != self.id);
            if mine.is_empty() {
                open.accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_socket_of_an_account_gives_way() {
        let sockets = Sockets::new(2);
        let (account, other) = (AccountId::new(), AccountId::new());
        let first = sockets.enter(account);
        let _other = sockets.enter(other);
        let second = sockets.enter(account);
        assert!(!first.replaced.is_cancelled());
        let third = sockets.enter(account);
        assert!(first.replaced.is_cancelled());
        assert!(!second.replaced.is_cancelled());
        drop((first, second, third));
        assert_eq!(sockets.open().accounts.len(), 1, "only the other account's");
    }
}
