//! The messages on the broker. Fields are only ever added, with a default.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::{
    AccountId, BookingId, EventId, OrderId, ProducerId, SeatLabel, ShowId, TicketId, TierCode,
    booking::{Kind, Reason, SEATS_PER_REQUEST_MAX, State, Wish},
    topology::Partition,
};

/// Most bookings one envelope carries.
pub const ENVELOPE_BOOKINGS_MAX: usize = 64;
/// Most bytes one envelope has; the broker refuses more than 64 KiB.
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
    /// The number of the first booking; the others follow it one by one. `None` in what a version
    /// before numbers has sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Number>,
    pub bookings: Vec<BookingRequested>,
}

/// Which of the requests that a producer sent one is. What was accepted and what was decided are
/// compared by these numbers, so that a request that is in no queue any more is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Number {
    /// One ingress node's requests to one partition within some minutes.
    pub producer: ProducerId,
    /// Counts from 0.
    pub n: i64,
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
    /// The place whose pass paid for this request; `None` where the room is off.
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
    /// Its number, as its envelope says; see [`Envelope::first`].
    #[serde(skip)]
    pub number: Option<Number>,
}

/// Goes through the queue of a closed sale behind everything that was accepted for it. Whoever
/// consumes it in the session that sent it has seen all that was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sentinel {
    /// This one, and no other.
    pub sentinel: Uuid,
    /// The epoch of the session that sent it; `None` where the session had none yet.
    pub epoch: Option<i64>,
}

impl Sentinel {
    /// Reads a sentinel; `None` where the message is something else.
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
    /// A newer version's words: not for this one to judge.
    #[error("the {0} is not known to this version")]
    Newer(&'static str),
    #[error("version {0} never was")]
    Version(u8),
    #[error("{0} bookings in one envelope")]
    Length(usize),
    #[error("a booking asks for {0} seats")]
    Seats(usize),
    #[error("a booking's seats are not sorted, or one is named twice")]
    Order,
}

impl Envelope {
    /// An envelope of these bookings, whose numbers, where they have some, follow each other.
    #[must_use]
    pub fn new(partition: &Partition, bookings: Vec<BookingRequested>) -> Self {
        let first = bookings.first().and_then(|booking| booking.number);
        let (show_id, tier) = (partition.show, partition.tier.clone());
        Self { v: 1, show_id, tier, first, bookings }
    }

    /// Reads and checks a message; what passes can be decided without further checks of form.
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
        for (n, booking) in (0..).zip(&mut envelope.bookings) {
            booking.number = envelope
                .first
                .and_then(|first| Some(Number { n: first.n.checked_add(n)?, ..first }));
        }
        Ok(envelope)
    }

    /// Takes what this version does not know out of a message: what is left, and what waits. An
    /// envelope of a newer version waits as a whole; `None` where nothing is left.
    #[must_use]
    pub fn without_newer(bytes: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
        let whole = || (None, bytes.to_vec());
        let Ok(mut message) = serde_json::from_slice::<Value>(bytes) else { return whole() };
        if message["v"].as_u64() != Some(u64::from(VERSION)) {
            return whole();
        }
        let Some(bookings) = message["bookings"].as_array_mut() else { return whole() };
        let (waiting, known): (Vec<Value>, Vec<Value>) =
            std::mem::take(bookings).into_iter().partition(|booking| newer_word(booking).is_some());
        if known.is_empty() || waiting.is_empty() {
            return whole();
        }
        let with = |bookings| {
            let mut envelope = message.clone();
            envelope["bookings"] = Value::Array(bookings);
            envelope.to_string().into_bytes()
        };
        (Some(with(known)), with(waiting))
    }

    /// The latest deadline in a message of any version: after it none of its bookings may be
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

/// What of a message that cannot be read is a newer version's, where something is.
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

/// What of a booking is a word that this version does not have. A value of another shape than any
/// version would write is none.
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

/// Something that happened to a booking, with its whole state after it.
///
/// Consumers keep the highest `seq` per booking and drop the rest, so order and duplicates
/// do not matter to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookingEvent {
    pub event_id: EventId,
    pub booking_id: BookingId,
    /// 1 for the outcome, then one more with each transition.
    pub seq: i32,
    pub show_id: ShowId,
    pub tier: TierCode,
    pub account_id: AccountId,
    pub at: DateTime<Utc>,
    /// Where an allocated booking stands; `None` for a rejected one.
    pub state: Option<State>,
    /// Why it was rejected; `None` for an allocated one.
    pub reason: Option<Reason>,
    #[serde(default)]
    pub order_id: Option<OrderId>,
    #[serde(default)]
    pub seat_ids: Vec<SeatLabel>,
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::{btree_set, vec},
        option,
        prelude::*,
    };

    use serde_json::json;

    use super::*;
    use crate::arbitrary::{id, second};

    fn wish() -> impl Strategy<Value = Wish> {
        let seats = btree_set("[!-~]{1,16}", 1..=SEATS_PER_REQUEST_MAX);
        let parsed = |seats: std::collections::BTreeSet<String>| {
            Wish::Seats(seats.iter().map(|seat| seat.parse().unwrap()).collect())
        };
        prop_oneof![seats.prop_map(parsed), (1..=20u16).prop_map(Wish::BestAvailable)]
    }

    /// Within bounds or not.
    fn any_wish() -> impl Strategy<Value = Wish> {
        let label = |seat: String| seat.parse().unwrap();
        let seats = |n| vec("[AB][01]".prop_map(label), n).prop_map(Wish::Seats);
        prop_oneof![wish(), seats(0..4), seats(20..24), (0..24u16).prop_map(Wish::BestAvailable)]
    }

    fn request() -> impl Strategy<Value = BookingRequested> {
        let ids = (id(BookingId), id(AccountId), option::of(id(TicketId)));
        let texts = (option::of("[!-~]{1,64}"), option::of("[0-9a-f-]{55}"));
        (ids, wish(), texts, second(), any::<u8>(), any::<bool>()).prop_map(
            |((booking_id, account_id, ticket_id), wish, texts, deadline, attempt, hold)| {
                BookingRequested {
                    booking_id,
                    account_id,
                    kind: if hold { Kind::Hold } else { Kind::Order },
                    wish,
                    idempotency_key: texts.0,
                    ticket_id,
                    deadline,
                    traceparent: texts.1,
                    attempt,
                    number: None,
                }
            },
        )
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let first = option::of((id(ProducerId), 0..i64::MAX - 6));
        (id(ShowId), "[A-Z][A-Z0-9_]{0,31}", vec(request(), 1..6), first).prop_map(
            |(show, tier, mut bookings, first)| {
                for (i, booking) in (0..).zip(&mut bookings) {
                    booking.number = first.map(|(producer, n)| Number { producer, n: n + i });
                }
                Envelope::new(&Partition { show, tier: tier.parse().unwrap() }, bookings)
            },
        )
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..512)) {
            prop_assert!(Envelope::decode(&bytes).is_err());
            prop_assert!(serde_json::from_slice::<BookingEvent>(&bytes).is_err());
        }

        #[test]
        fn any_envelope_is_read_back(envelope in envelope()) {
            prop_assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope);
        }

        #[test]
        fn a_damaged_envelope_does_not_make_the_decoder_panic(
            envelope in envelope(), at: prop::sample::Index, with in vec(any::<u8>(), 0..4), cut: bool,
        ) {
            let mut bytes = envelope.encode();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            }
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with);
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn an_envelope_is_read_exactly_where_it_keeps_the_bounds(
            v in 0..3u8, envelope in envelope(), wishes in vec(any_wish(), 0..3), many: bool,
        ) {
            let one = &envelope.bookings[0];
            let request = |wish: &Wish| BookingRequested { wish: wish.clone(), ..one.clone() };
            let mut bookings: Vec<_> = wishes.iter().map(request).collect();
            if many {
                bookings.resize(ENVELOPE_BOOKINGS_MAX + 1, one.clone());
            }
            let good = |wish: &Wish| match wish {
                Wish::Seats(seats) => {
                    let different: std::collections::BTreeSet<_> = seats.iter().collect();
                    (1..=20).contains(&seats.len()) && different.into_iter().eq(seats)
                }
                Wish::BestAvailable(n) => (1..=20).contains(n),
            };
            let is_good = v == 1 && !many && !wishes.is_empty() && wishes.iter().all(good);
            let bytes = Envelope { v, bookings, ..envelope }.encode();
            prop_assert_eq!(Envelope::decode(&bytes).is_ok(), is_good);
        }

        #[test]
        fn any_event_is_read_back(
            ids in (id(EventId), id(BookingId), id(ShowId), id(AccountId), option::of(id(OrderId))),
            seq: i32, at in second(), seats in vec("[!-~]{1,16}", 0..20),
        ) {
            let event = BookingEvent {
                event_id: ids.0,
                booking_id: ids.1,
                seq,
                show_id: ids.2,
                tier: "STANDARD".parse().unwrap(),
                account_id: ids.3,
                at,
                state: Some(State::Held),
                reason: None,
                order_id: ids.4,
                seat_ids: seats.iter().map(|seat| seat.parse().unwrap()).collect(),
            };
            let bytes = serde_json::to_vec(&event).unwrap();
            prop_assert_eq!(serde_json::from_slice::<BookingEvent>(&bytes).unwrap(), event);
        }
    }

    #[test]
    fn an_envelope_reads_back_and_its_bounds_hold() {
        let booking = BookingRequested {
            booking_id: BookingId::new(),
            account_id: AccountId::new(),
            kind: Kind::Order,
            wish: Wish::BestAvailable(2),
            idempotency_key: Some("k".into()),
            ticket_id: None,
            deadline: DateTime::UNIX_EPOCH,
            traceparent: None,
            attempt: 0,
            number: None,
        };
        let partition = Partition { show: ShowId::new(), tier: "STANDARD".parse().unwrap() };
        let mut envelope = Envelope::new(&partition, vec![booking.clone()]);
        assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope);
        envelope.bookings = vec![booking.clone(); ENVELOPE_BOOKINGS_MAX + 1];
        assert!(matches!(Envelope::decode(&envelope.encode()), Err(BadEnvelope::Length(65))));
        envelope.bookings =
            vec![BookingRequested { wish: Wish::BestAvailable(0), ..booking.clone() }];
        assert!(matches!(Envelope::decode(&envelope.encode()), Err(BadEnvelope::Seats(0))));
        let twice = vec!["A1".parse().unwrap(), "A1".parse().unwrap()];
        envelope.bookings = vec![BookingRequested { wish: Wish::Seats(twice), ..booking }];
        assert!(matches!(Envelope::decode(&envelope.encode()), Err(BadEnvelope::Order)));
        envelope.v = 2;
        assert!(matches!(Envelope::decode(&envelope.encode()), Err(BadEnvelope::Newer(_))));
        envelope.v = 0;
        assert!(matches!(Envelope::decode(&envelope.encode()), Err(BadEnvelope::Version(0))));
    }

    #[test]
    fn words_of_a_newer_version_are_told_from_what_no_version_would_write() {
        let booking = |kind: Value, wish: Value| {
            json!({
                "bookingId": BookingId::new(), "accountId": AccountId::new(), "kind": kind,
                "wish": wish, "deadline": "2030-01-01T00:00:00Z",
            })
        };
        let envelope = |v: Value, bookings: &[Value]| {
            let show = ShowId::new();
            json!({"v": v, "showId": show, "tier": "STANDARD", "bookings": bookings}).to_string()
        };
        let known = booking(json!("HOLD"), json!({"bestAvailable": 1}));
        let loan = booking(json!("LOAN"), json!({"bestAvailable": 1}));
        let together = booking(json!("HOLD"), json!({"together": {"n": 2}}));
        let anything = booking(json!("HOLD"), json!("anything"));
        for body in [
            envelope(json!(1), &[known.clone(), loan.clone()]),
            envelope(json!(1), std::slice::from_ref(&together)),
            envelope(json!(1), &[anything]),
            envelope(json!(2), &[json!({"all": "is new"})]),
            envelope(json!(2), std::slice::from_ref(&known)),
            envelope(json!(70_000), &[]),
        ] {
            let read = Envelope::decode(body.as_bytes());
            assert!(matches!(read, Err(BadEnvelope::Newer(_))), "{body}: {read:?}");
        }
        for body in [
            envelope(json!(1), &[booking(json!(7), json!({"bestAvailable": 1}))]),
            envelope(json!(1), &[booking(json!("a b"), json!({"bestAvailable": 1}))]),
            envelope(json!(1), &[booking(json!("HOLD"), json!({"bestAvailable": "two"}))]),
            envelope(json!(1), &[booking(json!("HOLD"), json!({"a": 1, "b": 1}))]),
            envelope(json!(1), &[json!({})]),
            envelope(json!(-1), std::slice::from_ref(&loan)),
            envelope(json!("2"), std::slice::from_ref(&loan)),
        ] {
            let read = Envelope::decode(body.as_bytes());
            assert!(matches!(read, Err(BadEnvelope::Json(_))), "{body}: {read:?}");
        }

        let mixed = envelope(json!(1), &[loan.clone(), known.clone(), together]);
        let (left, waits) = Envelope::without_newer(mixed.as_bytes());
        let left = Envelope::decode(&left.expect("one is known")).expect("the rest is readable");
        assert_eq!(json!(left.bookings[0].booking_id), known["bookingId"]);
        assert_eq!(left.bookings.len(), 1);
        assert!(matches!(Envelope::decode(&waits), Err(BadEnvelope::Newer(_))));
        let waits: Value = serde_json::from_slice(&waits).unwrap();
        assert_eq!(waits["bookings"].as_array().map(Vec::len), Some(2));
        let newer = envelope(json!(2), &[known]);
        assert_eq!(Envelope::without_newer(newer.as_bytes()), (None, newer.clone().into_bytes()));
        let deadline = "2030-01-01T00:00:00Z".parse().ok();
        assert_eq!(Envelope::latest_deadline(newer.as_bytes()), deadline);
        assert_eq!(Envelope::latest_deadline(b"{\"bookings\":[{}]}"), None);
    }
}
