//! One listener's socket, from its first frame to its close.

use axum::extract::ws::{Message, WebSocket};
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
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

use crate::Ears;

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
    let mut ear = ears.hub.join(account);
    let mut teller = Teller { socket, ears, account, last: None };
    if let Some(booking) = only
        && let Err(end) = teller.show(booking).await
    {
        return end;
    }
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut pace = Pace::new(heard);
    loop {
        let told = tokio::select! {
            () = ears.shutdown.begun() => return Some((close::DRAIN, "this node is stopping; connect again")),
            why = standing.ended() => return Some((close::POLICY, why)),
            () = ear.replaced.cancelled() => return Some((close::REPLACED, "a newer socket took its place")),
            changed = ear.changed.recv() => match changed {
                None => return Some((close::TOO_SLOW, "frames were not read in time; connect again")),
                Some(booking) if only.is_none_or(|only| only == booking) => teller.show(booking).await,
                Some(_) => Ok(()),
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return None;
                }
                teller.ping(only).await
            }
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
        let booking = match bookings::seen(&self.ears.pool, booking).await {
            Ok(Some(seen)) if seen.owner == self.account => seen.booking,
            Ok(Some(_)) => return Ok(()),
            Ok(None) => undecided(self.ears, self.account, booking).await?,
            Err(_) => return Err(AWAY),
        };
        let text = to_string(&BookingFrame::Booking(booking)).expect("a booking is plain JSON");
        if self.last.as_ref() == Some(&text) {
            return Ok(());
        }
        self.last = Some(text.clone());
        send(self.socket, Message::text(text)).await
    }

    /// Asks for a sign of life, and looks whether an event was missed.
    async fn ping(&mut self, only: Option<BookingId>) -> Result<(), End> {
        send(self.socket, Message::Ping(axum::body::Bytes::new())).await?;
        match only {
            Some(booking) => self.show(booking).await,
            None => Ok(()),
        }
    }
}

/// A booking that has no outcome, as its owner sees it.
async fn undecided(ears: &Ears, account: AccountId, booking: BookingId) -> Result<Booking, End> {
    let Ears { pool, cache, ids, .. } = ears;
    let accepted_at = ids.accepted_at(booking, account);
    match bookings::fate(pool, cache, booking, account, accepted_at).await {
        Ok(Fate::Queued) => return Ok(Booking::queued(booking)),
        Ok(Fate::Expired) => {}
        Err(_) => return Err(AWAY),
    }
    // It may have been decided a moment ago.
    let seen = bookings::seen(pool, booking).await.map_err(|_| AWAY)?;
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
