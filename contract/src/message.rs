//! The messages on the broker. Fields are only ever added, with a default.

mod event;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    AccountId, BookingId, ProducerId, ShowId, TicketId, TierCode,
    booking::{Kind, SEATS_PER_REQUEST_MAX, Wish},
    topology::Partition,
};

pub use event::{BookingEvent, EventMessage};

/// Most bookings one envelope carries.
pub const ENVELOPE_BOOKINGS_MAX: usize = 64;
/// Most bytes in one envelope; the broker refuses more than 64 KiB.
pub const ENVELOPE_BYTES_MAX: usize = 60 * 1024;

/// The version of envelopes that is written and read here.
const VERSION: u8 = 1;

/// One message of a `booking.{show}.{tier}` queue: 1 to 64 requests of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    pub v: u8,
    pub show_id: ShowId,
    pub tier: TierCode,
    /// The number of the first booking; the others are numbered on from it. `None` in messages of a
    /// version before numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Number>,
    pub bookings: Vec<BookingRequested>,
}

/// The number of a request among those of its producer. Accepted and decided requests are compared
/// by these numbers, so that a request that vanished from its queue is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Number {
    /// The series of requests from one ingress node to one partition.
    pub producer: ProducerId,
    /// Counts from 0.
    pub n: i64,
}

impl Number {
    /// The number that comes `behind` numbers later; `None` if it would overflow.
    #[must_use]
    pub fn plus(self, behind: usize) -> Option<Self> {
        let n = self.n.checked_add(i64::try_from(behind).ok()?)?;
        Some(Self { n, ..self })
    }
}

/// One accepted request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookingRequested {
    pub booking_id: BookingId,
    pub account_id: AccountId,
    pub kind: Kind,
    pub wish: Wish,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The place whose pass came with this request; `None` if the waiting room is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_id: Option<TicketId>,
    /// After this moment, on Postgres's clock, the request ends EXPIRED.
    pub deadline: DateTime<Utc>,
    /// W3C trace context of the request that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// How often the booking has come back from the parking queue.
    #[serde(default)]
    pub attempt: u8,
    /// The number that follows from its envelope; see [`Envelope::first`].
    #[serde(skip)]
    pub number: Option<Number>,
}

impl BookingRequested {
    /// Whether `other` may follow this request in an envelope: it has the next number, or neither
    /// has a number.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        other.number == self.number.and_then(|number| number.plus(1))
    }
}

/// A marker that a session publishes to its own queue. When the session consumes it, the session
/// has seen everything that was in the queue before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sentinel {
    /// Identifies this sentinel.
    pub sentinel: Uuid,
    /// The epoch of the session that sent it; `None` if the session had none yet.
    pub epoch: Option<i64>,
}

impl Sentinel {
    /// Reads a sentinel; `None` if the message is something else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        const BYTES_MAX: usize = 128;
        (bytes.len() <= BYTES_MAX).then(|| serde_json::from_slice(bytes).ok())?
    }

    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two plain fields")
    }
}

/// Why a message of a request queue cannot be understood.
#[derive(Debug, Error)]
pub enum BadEnvelope {
    #[error("not an envelope")]
    Json(#[from] serde_json::Error),
    /// The message holds a word of a newer version, which this version cannot judge.
    #[error("the {0} is not known to this version")]
    Newer(&'static str),
    #[error("version {0} never existed")]
    Version(u8),
    #[error("{0} bookings in one envelope")]
    Length(usize),
    #[error("a booking asks for {0} seats")]
    Seats(usize),
    #[error("a booking's seats are not sorted, or one is named twice")]
    Order,
}

impl Envelope {
    /// An envelope of these bookings. If they have numbers, the numbers must be consecutive.
    #[must_use]
    pub fn new(partition: &Partition, bookings: Vec<BookingRequested>) -> Self {
        let first = bookings.first().and_then(|booking| booking.number);
        let (show_id, tier) = (partition.show, partition.tier.clone());
        Self { v: 1, show_id, tier, first, bookings }
    }

    /// Reads and checks a message. What it returns needs no further check of form.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadEnvelope> {
        let mut envelope: Self = match serde_json::from_slice(bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Err(newer(bytes).unwrap_or(BadEnvelope::Json(error))),
        };
        match envelope.v {
            0 => return Err(BadEnvelope::Version(0)),
            VERSION => {}
            _ => return Err(BadEnvelope::Newer("version of an envelope")),
        }
        if !(1..=ENVELOPE_BOOKINGS_MAX).contains(&envelope.bookings.len()) {
            return Err(BadEnvelope::Length(envelope.bookings.len()));
        }
        for booking in &envelope.bookings {
            let n = booking.wish.n_seats();
            if !(1..=SEATS_PER_REQUEST_MAX).contains(&n) {
                return Err(BadEnvelope::Seats(n));
            }
            if let Wish::Seats(seats) = &booking.wish
                && !seats.is_sorted_by(|a, b| a < b)
            {
                return Err(BadEnvelope::Order);
            }
        }
        for (at, booking) in envelope.bookings.iter_mut().enumerate() {
            booking.number = envelope.first.and_then(|first| first.plus(at));
        }
        Ok(envelope)
    }

    /// Splits a message into parts that this version can read and parts that wait for a newer
    /// version. Each part holds adjacent bookings, so that all keep their numbers. An envelope of a
    /// newer version waits as a whole.
    #[must_use]
    pub fn without_newer(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let whole = || (Vec::new(), vec![bytes.to_vec()]);
        let Ok(mut message) = serde_json::from_slice::<Value>(bytes) else { return whole() };
        if message["v"].as_u64() != Some(u64::from(VERSION)) {
            return whole();
        }
        let Some(bookings) = message["bookings"].as_array_mut() else { return whole() };
        let bookings = std::mem::take(bookings);
        let first = Number::deserialize(&message["first"]).ok();
        let (mut known, mut waiting, mut at) = (Vec::new(), Vec::new(), 0);
        let is_newer = |booking: &Value| newer_word(booking).is_some();
        for side_by_side in bookings.chunk_by(|a, b| is_newer(a) == is_newer(b)) {
            let mut part = message.clone();
            if let Some(first) = first {
                part["first"] = json!(first.plus(at));
            }
            part["bookings"] = side_by_side.into();
            at += side_by_side.len();
            let parts = if is_newer(&side_by_side[0]) { &mut waiting } else { &mut known };
            parts.push(part.to_string().into_bytes());
        }
        if waiting.is_empty() { whole() } else { (known, waiting) }
    }

    /// The latest deadline in a message of any version. After it, none of the bookings may be
    /// allocated.
    #[must_use]
    pub fn latest_deadline(bytes: &[u8]) -> Option<DateTime<Utc>> {
        let message: Value = serde_json::from_slice(bytes).ok()?;
        let bookings = message.get("bookings")?.as_array()?;
        let deadlines =
            bookings.iter().map(|booking| booking.get("deadline")?.as_str()?.parse().ok());
        deadlines.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope has no maps with keys that are not text")
    }
}

/// The error for an unreadable message, if a newer version wrote it.
fn newer(bytes: &[u8]) -> Option<BadEnvelope> {
    let message: Value = serde_json::from_slice(bytes).ok()?;
    if message.get("v")?.as_u64()? > u64::from(VERSION) {
        return Some(BadEnvelope::Newer("version of an envelope"));
    }
    if message["v"].as_u64() != Some(u64::from(VERSION)) {
        return None;
    }
    message.get("bookings")?.as_array()?.iter().find_map(newer_word).map(BadEnvelope::Newer)
}

/// Which part of a booking is a word that this version does not know. A value of a shape that no
/// version would write is not a word.
fn newer_word(booking: &Value) -> Option<&'static str> {
    let is_word = |word: &str| {
        (1..=32).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if let Some(Value::String(kind)) = booking.get("kind")
        && is_word(kind)
        && serde_json::from_value::<Kind>(kind.as_str().into()).is_err()
    {
        return Some("kind of a booking");
    }
    let wish = booking.get("wish")?;
    let word = match wish {
        Value::String(word) => word,
        Value::Object(wish) if wish.len() == 1 => wish.keys().next()?,
        _ => return None,
    };
    (is_word(word) && !["seats", "bestAvailable"].contains(&word.as_str()))
        .then_some("wish of a booking")
}

#[cfg(test)]
mod tests;
