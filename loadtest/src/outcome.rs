//! How the owner of an accepted booking hears its outcome.

use std::time::Duration;

use contract::{
    api::{
        bookings::{Accepted, Booking, BookingFrame},
        socket::BEARER_PROTOCOL,
    },
    booking::Status,
};
use tokio::time::timeout;

use crate::{CallError, Client, socket::Socket};

/// Seconds of one `Prefer: wait`.
const WAIT_SECONDS: u8 = 20;
/// Questions before a visitor gives up on the outcome: ten minutes at most.
const QUESTIONS_MAX: usize = 30;
/// How long a visitor listens to a silent socket before it asks.
const LISTEN_MAX: Duration = Duration::from_secs(20);

/// Waits for the outcome: over the booking's socket where `listens` is set, else by asking.
pub async fn hear(
    client: &Client,
    accepted: &Accepted,
    listens: bool,
) -> Result<Booking, CallError> {
    if listens {
        // If the socket fails or stays silent, the visitor asks for the outcome.
        match timeout(LISTEN_MAX, listen(client, &accepted.links.live)).await {
            Ok(Ok(Some(booking))) => return Ok(booking),
            Ok(Err(CallError::Unexpected(what))) => return Err(CallError::Unexpected(what)),
            Ok(Ok(None) | Err(_)) | Err(_) => {}
        }
    }
    ask(client, accepted).await
}

async fn listen(client: &Client, at: &str) -> Result<Option<Booking>, CallError> {
    let credential = format!("{BEARER_PROTOCOL}{}", client.token().unwrap_or_default());
    let mut socket = Socket::open(client, at, &credential).await?;
    while let Some(BookingFrame::Booking(booking)) = socket.next().await? {
        if booking.status != Status::Queued {
            socket.close().await;
            return Ok(Some(booking));
        }
    }
    Ok(None)
}

async fn ask(client: &Client, accepted: &Accepted) -> Result<Booking, CallError> {
    for _ in 0..QUESTIONS_MAX {
        let booking = client.booking(accepted.booking_id, WAIT_SECONDS).await?;
        if booking.status != Status::Queued {
            return Ok(booking);
        }
    }
    Err(CallError::Unexpected(format!("still QUEUED after {QUESTIONS_MAX} questions")))
}
