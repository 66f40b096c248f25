//! What one listener's socket sends, from its first frame to its close.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::Message;
use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId,
    api::{
        bookings::{Booking, BookingFrame},
        socket::close,
    },
};
use platform::{
    Shutdown,
    access::TokenWatch,
    http::socket::{End, Frames, Next, SocketSlot},
};
use store::bookings::{self, Fate};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::{hub::Ear, notifier::Notifier};

/// How often a socket of one booking looks at the booking without an event: an event may be lost,
/// and a booking that ends unseen has none.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Sends an account one of its bookings, or all, as they change.
pub(crate) struct Teller {
    notifier: Arc<Notifier>,
    token: TokenWatch,
    account: AccountId,
    only: Option<BookingId>,
    ear: Ear,
    /// The booking to show next.
    due: Option<BookingId>,
    look_at: Instant,
    /// The last booking that was shown: the same is not sent twice.
    last: Option<Booking>,
}

impl Teller {
    pub(crate) fn new(
        notifier: Arc<Notifier>,
        token: TokenWatch,
        account: AccountId,
        only: Option<BookingId>,
    ) -> Self {
        // Join before the first look, so that a change between the two is heard.
        let ear = notifier.hub.join(account, only);
        let look_at = Instant::now() + LOOK_EVERY;
        Self { notifier, token, account, only, ear, due: only, look_at, last: None }
    }

    /// The booking as it stands, if that is news to its owner.
    async fn look(&mut self, booking: BookingId) -> Result<Option<BookingFrame>, End> {
        let look = self.notifier.looker.look(booking).await.map_err(|_| AWAY)?;
        let booking = match look.view {
            Some(view) if view.owner == self.account => view.booking,
            Some(_) => return Ok(None),
            None => undecided(&self.notifier, self.account, booking, look.now).await?,
        };
        let is_news = self.last.as_ref() != Some(&booking);
        self.last = Some(booking.clone());
        Ok(is_news.then_some(BookingFrame::Booking(booking)))
    }
}

impl Frames for Teller {
    type Frame = BookingFrame;

    async fn next(&mut self, until: Instant) -> Option<Next<BookingFrame>> {
        loop {
            if let Some(booking) = self.due {
                let looked = self.look(booking).await;
                self.due = None;
                match looked {
                    Ok(Some(frame)) => return Some(Next::Frame(frame)),
                    Ok(None) => {}
                    Err(end) => return Some(Next::End(end)),
                }
            }
            let now = Instant::now();
            if now >= until {
                return None;
            }
            if now >= self.look_at {
                self.look_at = now + LOOK_EVERY;
                self.due = self.only;
                continue;
            }
            let end = tokio::select! {
                end = over(&self.notifier.shutdown, &self.token, &self.ear.socket) => end,
                changed = self.ear.changed.recv() => {
                    self.due = changed;
                    if self.due.is_some() {
                        continue;
                    }
                    TOO_SLOW
                }
                () = sleep_until(self.look_at.min(until)) => continue,
            };
            return Some(Next::End(end));
        }
    }

    async fn hear(&mut self, _: Message) -> End {
        (close::POLICY, "this socket takes no frames")
    }

    fn ended(end: Option<End>) {
        count_end(end);
    }
}

/// Waits until a socket is over, whatever it still has to say, and returns why.
pub(crate) async fn over(shutdown: &Shutdown, token: &TokenWatch, slot: &SocketSlot) -> End {
    tokio::select! {
        () = shutdown.begun() => (close::DRAIN, "this node is stopping; connect again"),
        why = token.ended() => (close::POLICY, why),
        () = slot.replaced.cancelled() => (close::REPLACED, "a newer socket took its place"),
    }
}

/// Counts a socket that this node closed.
pub(crate) fn count_end(end: Option<End>) {
    // A socket that its client closed does not count.
    if let Some((code, reason)) = end.filter(|(code, _)| *code != close::NORMAL) {
        debug!(code, reason, "a live socket is closed");
        metrics::counter!("usher_live_closed_total", "code" => code.to_string()).increment(1);
    }
}

/// A booking that had no outcome at `now` on PostgreSQL's clock, as its owner sees it.
async fn undecided(
    notifier: &Notifier,
    account: AccountId,
    booking: BookingId,
    now: DateTime<Utc>,
) -> Result<Booking, End> {
    let Notifier { pool, cache, ids, looker, .. } = notifier;
    let accepted_at = ids.accepted_at(booking, account);
    match bookings::fate(pool, cache, booking, account, accepted_at, now).await {
        Ok(Fate::Queued) => return Ok(Booking::queued(booking)),
        Ok(Fate::Expired) => {}
        Err(_) => return Err(AWAY),
    }
    // It may have been decided a moment ago.
    let view = looker.look(booking).await.map_err(|_| AWAY)?.view;
    Ok(view.map_or(Booking::expired(booking), |view| view.booking))
}

/// How a socket ends when what it tells of cannot be read.
pub(crate) const AWAY: End = (close::TRY_LATER, "the database does not answer; connect again");
/// How a socket ends when its client does not keep up.
pub(crate) const TOO_SLOW: End = (close::TOO_SLOW, "frames were not read in time; connect again");
