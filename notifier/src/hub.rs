//! The sockets that listen on this node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contract::{AccountId, BookingId};
use platform::http::socket::{SocketSlot, Sockets};
use tokio::sync::mpsc;

use crate::limits::SOCKETS_PER_ACCOUNT_MAX;

/// Events a socket may lag behind before it is closed as too slow.
const LAG_MAX: usize = 64;

struct Listener {
    id: u64,
    changed: mpsc::Sender<BookingId>,
    /// The booking that the socket is for; `None` for all of the account's bookings.
    only: Option<BookingId>,
}

impl Listener {
    fn is_deaf_to(&self, booking: BookingId) -> bool {
        self.only.is_some_and(|only| only != booking)
    }
}

/// The open sockets, by account. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub {
    listeners: Arc<Mutex<HashMap<AccountId, Vec<Listener>>>>,
    sockets: Arc<Sockets>,
}

/// A socket's subscription to changes, which ends when it is dropped.
pub(crate) struct Ear {
    account: AccountId,
    hub: Hub,
    pub(crate) socket: SocketSlot,
    /// Closes when the socket is too slow.
    pub(crate) changed: mpsc::Receiver<BookingId>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { listeners: Arc::default(), sockets: Sockets::new(SOCKETS_PER_ACCOUNT_MAX) }
    }

    /// Listens for changes of one of the account's bookings, or of all.
    pub(crate) fn join(&self, account: AccountId, only: Option<BookingId>) -> Ear {
        let socket = self.sockets.enter(account);
        let (sender, changed) = mpsc::channel(LAG_MAX);
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = Listener { id: socket.id, changed: sender, only };
        listeners.entry(account).or_default().push(listener);
        metrics::gauge!("usher_live_sockets").increment(1.0);
        Ear { account, hub: self.clone(), socket, changed }
    }

    /// Tells the account's listeners of this booking that it changed.
    pub(crate) fn tell(&self, account: AccountId, booking: BookingId) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = listeners.get_mut(&account) {
            // A listener whose channel is full is dropped; its socket sees the channel end and
            // closes.
            mine.retain(|listener| {
                listener.is_deaf_to(booking) || listener.changed.try_send(booking).is_ok()
            });
        }
    }

    /// Events may have been missed: every listener for one booking is told to look at it. A
    /// listener for all bookings is told nothing, because it is not known which changed.
    pub(crate) fn tell_all_to_look(&self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for mine in listeners.values_mut() {
            mine.retain(|listener| {
                listener.only.is_none_or(|booking| listener.changed.try_send(booking).is_ok())
            });
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut listeners = self.hub.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = listeners.get_mut(&self.account) {
            mine.retain(|listener| listener.id != self.socket.id);
            if mine.is_empty() {
                listeners.remove(&self.account);
            }
        }
        metrics::gauge!("usher_live_sockets").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_dropped_and_the_others_hear_on() {
        let hub = Hub::new();
        let account = AccountId::new();
        let (mut slow, mut quick) = (hub.join(account, None), hub.join(account, None));
        let booking = BookingId::new();
        for _ in 0..=LAG_MAX {
            hub.tell(account, booking);
            assert_eq!(quick.changed.recv().await, Some(booking));
        }
        for _ in 0..LAG_MAX {
            assert_eq!(slow.changed.recv().await, Some(booking));
        }
        assert_eq!(slow.changed.recv().await, None);
        assert!(!slow.socket.replaced.is_cancelled());
        let newer: Vec<Ear> =
            (0..SOCKETS_PER_ACCOUNT_MAX).map(|_| hub.join(account, None)).collect();
        assert!(quick.socket.replaced.is_cancelled(), "the oldest makes room");
        drop((slow, quick, newer));
        assert!(hub.listeners.lock().unwrap().is_empty());
    }
}
