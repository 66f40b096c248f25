//! One listener's socket, from its first frame to its close.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId,
    api::{
        bookings::{Booking, BookingFrame},
        line::close,
    },
};
use platform::{
    access::Standing,
    http::socket::{self, PING_EVERY, Pace, SEND_WAIT, SILENCE_MAX},
};
use serde_json::to_string;
use store::bookings::{self, Fate};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use tracing::debug;

use crate::ears::Ears;

/// How often a socket of one booking looks at it without having been told.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Why a socket ends: a code and a reason, or nothing where the client is gone already.
type End = Option<(u16, &'static str)>;

/// Tells the account of one booking, or of all, until either side has enough.
pub(crate) async fn tell(
    mut socket: WebSocket,
    ears: Ears,
    standing: Standing,
    account: AccountId,
    only: Option<BookingId>,
) {
    if let Some((code, reason)) = converse(&mut socket, &ears, &standing, account, only).await {
        debug!(code, reason, "a live socket is closed");
        metrics::counter!("usher_live_closed_total", "code" => code.to_string()).increment(1);
        socket::end(socket, code, reason).await;
    }
}

async fn converse(
    socket: &mut WebSocket,
    ears: &Ears,
    standing: &Standing,
    account: AccountId,
    only: Option<BookingId>,
) -> End {
    // Joined before the first look: a change between the two is heard.
    let mut ear = ears.hub.join(account, only);
    let mut teller = Teller { socket, ears, account, last: None };
    if let Some(booking) = only
        && let Err(end) = teller.show(booking).await
    {
        return end;
    }
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An event may be lost, and what ends unseen has none.
    let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut pace = Pace::new(heard);
    loop {
        let told = tokio::select! {
            () = ears.shutdown.begun() => return Some((close::DRAIN, "this node is stopping; connect again")),
            why = standing.ended() => return Some((close::POLICY, why)),
            () = ear.replaced.cancelled() => return Some((close::REPLACED, "a newer socket took its place")),
            changed = ear.changed.recv() => match changed {
                None => return Some((close::TOO_SLOW, "frames were not read in time; connect again")),
                Some(booking) => teller.show(booking).await,
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return None;
                }
                teller.ping().await
            }
            _ = look.tick() => match only {
                Some(booking) => teller.show(booking).await,
                None => Ok(()),
            },
            frame = teller.socket.recv() => match frame {
                Some(Ok(message @ (Message::Pong(_) | Message::Ping(_)))) => {
                    heard = Instant::now();
                    if pace.is_exceeded(&message, heard) {
                        return Some((close::POLICY, "at most 5 frames a second"));
                    }
                    Ok(())
                }
                Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                    return Some((close::POLICY, "this socket takes no frames"));
                }
                Some(Err(error)) => return socket::refusal(error),
                Some(Ok(Message::Close(_))) | None => return None,
            },
        };
        if let Err(end) = told {
            return end;
        }
    }
}

struct Teller<'a> {
    socket: &'a mut WebSocket,
    ears: &'a Ears,
    account: AccountId,
    /// The last frame: the same is not sent twice.
    last: Option<String>,
}

impl Teller<'_> {
    /// Sends the booking as it stands.
    async fn show(&mut self, booking: BookingId) -> Result<(), End> {
        let look = self.ears.looker.look(booking).await.map_err(|_| AWAY)?;
        let booking = match look.seen {
            Some(seen) if seen.owner == self.account => seen.booking,
            Some(_) => return Ok(()),
            None => undecided(self.ears, self.account, booking, look.now).await?,
        };
        let text = to_string(&BookingFrame::Booking(booking)).expect("a booking is plain JSON");
        if self.last.as_ref() == Some(&text) {
            return Ok(());
        }
        self.last = Some(text.clone());
        send(self.socket, Message::text(text)).await
    }

    /// Asks for a sign of life.
    async fn ping(&mut self) -> Result<(), End> {
        send(self.socket, Message::Ping(axum::body::Bytes::new())).await
    }
}

/// A booking that had no outcome at this moment of PostgreSQL's clock, as its owner sees it.
async fn undecided(
    ears: &Ears,
    account: AccountId,
    booking: BookingId,
    now: DateTime<Utc>,
) -> Result<Booking, End> {
    let Ears { pool, cache, ids, looker, .. } = ears;
    let accepted_at = ids.accepted_at(booking, account);
    match bookings::fate(pool, cache, booking, account, accepted_at, now).await {
        Ok(Fate::Queued) => return Ok(Booking::queued(booking)),
        Ok(Fate::Expired) => {}
        Err(_) => return Err(AWAY),
    }
    // It may have been decided a moment ago.
    let seen = looker.look(booking).await.map_err(|_| AWAY)?.seen;
    Ok(seen.map_or(Booking::expired(booking), |seen| seen.booking))
}

/// How a socket ends when its booking cannot be read.
const AWAY: End = Some((close::TRY_LATER, "the database does not answer; connect again"));

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match timeout(SEND_WAIT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some((close::TOO_SLOW, "frames were not read in time; connect again"))),
    }
}
