//! Finds the bookings in a message that cannot be read.

use contract::{
    AccountId, BookingId,
    booking::{Kind, Reason},
    booking_id::is_key,
    deadline::BOOKING_DEADLINE,
    message::Number,
    topology::Partition,
};
use serde::Deserialize as _;
use serde_json::Value;
use store::{
    StoreResult,
    bookings::{self, Refusal},
};

use crate::allocator::Allocator;

/// Refuses the bookings that can be found in an unreadable message.
pub(crate) async fn refuse_made_out(
    allocator: &Allocator,
    routing_key: &str,
    body: &[u8],
    reason: Reason,
) -> StoreResult<()> {
    let Some(partition) = partition_of(routing_key) else { return Ok(()) };
    for MadeOut { booking, account, kind, idempotency_key, number } in made_out(body) {
        if !allocator.ids.belongs_to(booking, account) {
            continue;
        }
        let partition = partition.clone();
        let accepted_at = allocator.ids.accepted_at(booking, account);
        let deadline = accepted_at.map(|at| at + BOOKING_DEADLINE);
        let refusal = Refusal {
            partition,
            booking,
            account,
            kind,
            idempotency_key,
            number,
            deadline,
            reason,
        };
        bookings::refuse(&allocator.pool, &refusal).await?;
    }
    allocator.events.notify_one();
    Ok(())
}

/// Reads a routing key, `{show}.{tier}`.
pub(crate) fn partition_of(routing_key: &str) -> Option<Partition> {
    let (show, tier) = routing_key.split_once('.')?;
    Some(Partition { show: show.parse().ok()?, tier: tier.parse().ok()? })
}

/// A booking, as far as it can be found in an unreadable message.
#[derive(Debug, PartialEq, Eq)]
struct MadeOut {
    booking: BookingId,
    account: AccountId,
    kind: Kind,
    idempotency_key: Option<String>,
    number: Option<Number>,
}

/// Finds bookings in a message of any shape: objects with a booking id and an account id.
fn made_out(body: &[u8]) -> Vec<MadeOut> {
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let Some(bookings) = message.get("bookings").and_then(Value::as_array) else {
        return Vec::new();
    };
    let text = |booking: &Value, name: &str| {
        booking.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
    };
    let first = message.get("first").and_then(|first| Number::deserialize(first).ok());
    bookings
        .iter()
        .enumerate()
        .filter_map(|(at, booking)| {
            let is_hold = text(booking, "kind").as_deref() == Some("HOLD");
            Some(MadeOut {
                booking: text(booking, "bookingId")?.parse().ok()?,
                account: text(booking, "accountId")?.parse().ok()?,
                kind: if is_hold { Kind::Hold } else { Kind::Order },
                idempotency_key: text(booking, "idempotencyKey")
                    .filter(|key| is_key(key.as_bytes())),
                number: first.and_then(|first| first.plus(at)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// JSON of any shape, with the field names by which a booking is found.
    fn json() -> impl Strategy<Value = Value> {
        let word = prop_oneof!["bookings|bookingId|accountId|kind|HOLD", "[0-9a-f-]{36}", ".{0,8}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
            any::<u128>().prop_map(|id| uuid::Uuid::from_u128(id).to_string().into()),
        ];
        leaf.prop_recursive(3, 32, 4, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec((word.clone(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_message_makes_the_search_for_bookings_panic(
            bytes in vec(any::<u8>(), 0..200), bookings in vec(json(), 0..4), key in ".{0,80}",
        ) {
            prop_assert!(made_out(&bytes).is_empty());
            let message = serde_json::json!({"bookings": bookings}).to_string();
            prop_assert!(made_out(message.as_bytes()).len() <= bookings.len());
            prop_assert!(partition_of(&key).is_none());
        }

        #[test]
        fn every_booking_is_made_out_among_other_things(
            ids in vec(any::<(u128, u128, bool)>(), 0..8), noise in json(), v: u8,
            key in proptest::option::of("[!-~]{1,64}"),
        ) {
            let id = uuid::Uuid::from_u128;
            let wanted: Vec<_> = ids
                .iter()
                .map(|(booking, account, hold)| {
                    let kind = if *hold { Kind::Hold } else { Kind::Order };
                    let (booking, account) = (BookingId(id(*booking)), AccountId(id(*account)));
                    MadeOut { booking, account, kind, idempotency_key: key.clone(), number: None }
                })
                .collect();
            let mut bookings: Vec<Value> = wanted
                .iter()
                .map(|MadeOut { booking, account, kind, idempotency_key, .. }| serde_json::json!({
                    "bookingId": booking, "accountId": account, "kind": kind.as_str(),
                    "idempotencyKey": idempotency_key, "wish": noise,
                }))
                .collect();
            bookings.push(serde_json::json!({"bookingId": noise}));
            let message = serde_json::json!({"v": v, "bookings": bookings, "more": noise});
            prop_assert_eq!(made_out(message.to_string().as_bytes()), wanted);
        }
    }

    #[test]
    fn bookings_are_made_out_in_messages_of_another_version() {
        let (booking, account) = (BookingId::new(), AccountId::new());
        let body = serde_json::json!({
            "v": 9,
            "bookings": [
                {
                    "bookingId": booking, "accountId": account, "kind": "HOLD",
                    "idempotencyKey": "zero\u{0}", "wish": {"moon": 1},
                },
                {"bookingId": 7},
                "x",
            ],
        });
        let made =
            MadeOut { booking, account, kind: Kind::Hold, idempotency_key: None, number: None };
        assert_eq!(made_out(body.to_string().as_bytes()), [made]);
        assert!(made_out(b"\xff\xfe").is_empty());
        assert!(partition_of("nonsense").is_none());
    }
}
