use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
};

use serde_json::json;

use super::*;
use crate::{
    EventId, OrderId,
    arbitrary::{id, second},
    booking::{Reason, State},
};

fn wish() -> impl Strategy<Value = Wish> {
    let seats = btree_set("[!-~]{1,16}", 1..=SEATS_PER_REQUEST_MAX);
    let parsed = |seats: std::collections::BTreeSet<String>| {
        Wish::Seats(seats.iter().map(|seat| seat.parse().unwrap()).collect())
    };
    prop_oneof![seats.prop_map(parsed), (1..=20u16).prop_map(Wish::BestAvailable)]
}

/// A wish within the bounds or outside them.
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
        prop_assert!(EventMessage::decode(&bytes).is_err());
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
        seq: i32, at in second(), seats in vec("[!-~]{1,16}", 0..20), n in 1_usize..200,
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
        let events: Vec<_> =
            (0..).map(|seq| BookingEvent { seq, ..event.clone() }).take(n).collect();
        let messages = EventMessage::all(&events).map(|message| message.encode());
        let read = messages.flat_map(|text| EventMessage::decode(text.as_bytes()).unwrap());
        let read: Vec<_> = read.collect();
        prop_assert_eq!(read, events);
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
    envelope.bookings = vec![BookingRequested { wish: Wish::BestAvailable(0), ..booking.clone() }];
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

    let newer = envelope(json!(2), &[known]);
    let waits = vec![newer.clone().into_bytes()];
    assert_eq!(Envelope::without_newer(newer.as_bytes()), (vec![], waits));
    let deadline = "2030-01-01T00:00:00Z".parse().ok();
    assert_eq!(Envelope::latest_deadline(newer.as_bytes()), deadline);
    assert_eq!(Envelope::latest_deadline(b"{\"bookings\":[{}]}"), None);
}

proptest! {
    #[test]
    fn what_is_left_of_an_envelope_goes_on_in_parts_whose_numbers_follow(
        envelope in envelope(), left in vec(any::<bool>(), 6),
    ) {
        let partition = Partition { show: envelope.show_id, tier: envelope.tier.clone() };
        let left = envelope.bookings.iter().zip(&left).filter(|(_, is_left)| **is_left);
        let left: Vec<BookingRequested> = left.map(|(booking, _)| booking.clone()).collect();
        let parts = left.chunk_by(BookingRequested::precedes).flat_map(|part| {
            let part = Envelope::new(&partition, part.to_vec()).encode();
            Envelope::decode(&part).expect("a part is an envelope").bookings
        });
        let parts: Vec<BookingRequested> = parts.collect();
        prop_assert_eq!(parts, left);
    }
}

/// Reads a message as a later version would, by replacing the unknown word with a known one.
fn with_word_known(bytes: &[u8]) -> Envelope {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Envelope::decode(text.replace("LOAN", "HOLD").as_bytes()).expect("it is read")
}

proptest! {
    #[test]
    fn bookings_keep_their_numbers_when_those_of_a_newer_version_are_taken_out(
        envelope in envelope(), newer in vec(any::<bool>(), 6),
    ) {
        let newer = &newer[..envelope.bookings.len()];
        prop_assume!(newer.contains(&true));
        let mut message: Value = serde_json::from_slice(&envelope.encode()).unwrap();
        for (at, _) in newer.iter().enumerate().filter(|(_, is_newer)| **is_newer) {
            message["bookings"][at]["kind"] = json!("LOAN");
        }
        let (known, waiting) = Envelope::without_newer(message.to_string().as_bytes());
        prop_assert!(known.iter().all(|part| Envelope::decode(part).is_ok()));
        let is_newer = |part: &Vec<u8>| matches!(Envelope::decode(part), Err(BadEnvelope::Newer(_)));
        prop_assert!(waiting.iter().all(is_newer));
        for (parts, wanted) in [(known, false), (waiting, true)] {
            let found: Vec<(BookingId, Option<Number>)> = parts
                .iter()
                .flat_map(|part| with_word_known(part).bookings)
                .map(|booking| (booking.booking_id, booking.number))
                .collect();
            let wanted: Vec<(BookingId, Option<Number>)> = envelope
                .bookings
                .iter()
                .zip(newer)
                .filter(|(_, is_newer)| **is_newer == wanted)
                .map(|(booking, _)| (booking.booking_id, booking.number))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}

#[test]
fn an_event_tells_a_booking_and_where_it_stands() {
    let partition = Partition { show: ShowId::new(), tier: "STANDARD".parse().unwrap() };
    let (booking, account, order) = (BookingId::new(), AccountId::new(), OrderId::new());
    let at = DateTime::UNIX_EPOCH;
    let new = |seq| BookingEvent::new(&partition, booking, account, seq, at);
    let held = new(2).now(State::Held, vec!["A1".parse().unwrap()], Some(order));
    let mut told = json!({
        "eventId": held.event_id, "bookingId": booking, "seq": 2, "showId": partition.show,
        "tier": "STANDARD", "accountId": account, "at": at, "state": "HELD", "reason": null,
        "orderId": order, "seatIds": ["A1"],
    });
    assert_eq!(serde_json::to_value(&held).unwrap(), told);
    let rejected = new(1).rejected(Reason::SoldOut);
    for (field, value) in [
        ("eventId", json!(rejected.event_id)),
        ("seq", json!(1)),
        ("state", json!(null)),
        ("reason", json!("SOLD_OUT")),
        ("orderId", json!(null)),
        ("seatIds", json!([])),
    ] {
        told[field] = value;
    }
    assert_eq!(serde_json::to_value(&rejected).unwrap(), told);
}

#[test]
fn a_message_of_the_longest_events_is_within_the_brokers_limit() {
    let partition = Partition {
        show: ShowId::new(),
        tier: "A23456789_123456789_123456789_12".parse().unwrap(),
    };
    let at = DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap();
    let event = BookingEvent::new(&partition, BookingId::new(), AccountId::new(), i32::MAX, at);
    let seats = vec!["\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"".parse().unwrap(); SEATS_PER_REQUEST_MAX];
    let event = event.now(State::PaymentPending, seats, Some(OrderId::new()));
    let events = vec![event; event::EVENTS_MAX + 1];
    let messages: Vec<_> = EventMessage::all(&events).map(|message| message.encode()).collect();
    assert_eq!(messages.len(), 2);
    // PostgreSQL gives it back with a space after each comma and colon.
    let spaces = messages[0].matches([',', ':']).count();
    assert!(messages[0].len() + spaces <= 64 * 1024, "{}", messages[0].len());
    assert!(!messages[1].starts_with('['), "as versions before lists read it");
}
