//! Messages put straight on a request queue, without ingress. Each gets an outcome, is parked, or
//! both; other bookings are not affected.

use std::time::Duration;

use contract::{AccountId, BookingId, access::Role, booking::Wish, message::BookingRequested};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use testing::eventually;

use super::good;
use crate::{
    forge::{Forge, outcome},
    harness::{Plan, SOON, System},
    witness::Witness,
};

async fn set_aside(system: &System) -> Vec<String> {
    let whys = sqlx::query_scalar("select why from parked_messages order by parked_id");
    whys.fetch_all(&system.pool).await.unwrap()
}

/// Headers as the broker adds them to dead-lettered messages, and more.
fn table(entries: usize) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(19));
    for n in 0..entries {
        let value = AMQPValue::LongString("x".repeat(32).into());
        headers.insert(format!("x-{n}").into(), value);
    }
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_on_the_queue_are_answered_or_set_aside_and_their_neighbours_are_sold() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(Role::User).await;
    let witness = Witness::of(&system, show).await;
    let forge = Forge::new(&system, show, account);

    let foreign = forge.any();
    let past = platform::clock::now() - Duration::from_mins(1);
    let late = BookingRequested { deadline: past, ..forge.any() };
    let ghost = forge.request_of(AccountId::new(), Wish::BestAvailable(1));
    let nowhere = forge.request(Wish::Seats(vec!["Z9".parse().unwrap()]));
    let neighbour = forge.any();
    let tired = BookingRequested { attempt: 4, ..forge.any() };
    let decorated = forge.any();
    let mut nameless: Value = serde_json::from_slice(&forge.envelope(vec![forge.any()])).unwrap();
    nameless["bookings"][0].as_object_mut().unwrap().remove("bookingId");
    let endless = vec![forge.any(); 65];

    let none = FieldTable::default;
    witness.publish(b"\xff\xfenot json", none()).await;
    witness.publish(b"", none()).await;
    witness.publish(json!({"v": 1}).to_string().as_bytes(), none()).await;
    witness.publish(nameless.to_string().as_bytes(), none()).await;
    witness.publish(&forge.versioned(0, vec![foreign.clone()]), none()).await;
    witness.publish(&forge.envelope(endless.clone()), none()).await;
    assert!(!witness.try_publish(&vec![b'x'; 65 * 1024]).await, "the broker refuses 65 KiB");
    witness.publish(&vec![b'x'; 64 * 1024], none()).await;
    witness.publish(b"{", table(1_000)).await;
    let mixed = vec![late.clone(), ghost.clone(), nowhere.clone(), neighbour.clone()];
    witness.publish(&forge.envelope(mixed), none()).await;
    witness.publish(&forge.envelope(vec![decorated.clone()]), table(1_000)).await;
    witness.park(&forge.envelope(vec![tired.clone()])).await;

    for (what, request, status, reason) in [
        ("a version that never was", &foreign, "REJECTED", Some("INTERNAL")),
        ("65 at once", &endless[0], "REJECTED", Some("INTERNAL")),
        ("a deadline that is past", &late, "REJECTED", Some("EXPIRED")),
        ("no such account", &ghost, "REJECTED", Some("INTERNAL")),
        ("no such seat", &nowhere, "REJECTED", Some("INTERNAL")),
        ("a good one among them", &neighbour, "ALLOCATED", None),
        ("a thousand headers", &decorated, "ALLOCATED", None),
        ("the last attempt", &tired, "REJECTED", Some("INTERNAL")),
    ] {
        let (got, why) = outcome(&system, request.booking_id).await;
        assert_eq!((got.as_str(), why.as_deref()), (status, reason), "{what}");
    }
    assert_eq!(set_aside(&system).await.len(), 8, "each that cannot be understood is kept once");
    let fine = system.book(&token, serde_json::from_str(&good(show)).unwrap()).await;
    assert_eq!(fine.body["status"], "ALLOCATED", "the queue goes on: {fine:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

/// An id that was not made for its account was never promised to a client. An outcome under it
/// would block the account it belongs to.
#[tokio::test(flavor = "multi_thread")]
async fn a_booking_whose_id_does_not_prove_its_account_gets_no_seat_and_no_outcome() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, _) = system.account(Role::User).await;
    let (thief, _) = system.account(Role::User).await;
    let witness = Witness::of(&system, show).await;
    let forge = Forge::new(&system, show, account);

    let victim = forge.any();
    let stolen = BookingRequested { account_id: thief, ..victim.clone() };
    let invented = BookingRequested { booking_id: BookingId::new(), ..forge.any() };
    let neighbour = forge.any();
    let none = FieldTable::default;
    witness.publish(&forge.versioned(0, vec![stolen.clone(), invented.clone()]), none()).await;
    let mixed = vec![stolen.clone(), invented.clone(), neighbour.clone()];
    witness.publish(&forge.envelope(mixed.clone()), none()).await;
    witness.park(&forge.envelope(vec![BookingRequested { attempt: 4, ..stolen }])).await;
    assert_eq!(outcome(&system, neighbour.booking_id).await.0, "ALLOCATED");
    eventually("all three are kept", SOON, async || {
        (set_aside(&system).await.len() == 3).then_some(())
    })
    .await;

    witness.publish(&forge.envelope(vec![victim.clone()]), none()).await;
    assert_eq!(outcome(&system, victim.booking_id).await.0, "ALLOCATED", "its owner's is decided");
    let decided: Vec<BookingId> =
        sqlx::query_scalar("select booking_id from bookings where show_id = $1")
            .bind(show.0)
            .fetch_all(&system.pool)
            .await
            .unwrap()
            .into_iter()
            .map(BookingId)
            .collect();
    assert_eq!(decided.len(), 2, "nothing else: {decided:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
