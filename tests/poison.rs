//! Bookings that break their batch: they are isolated, parked and refused, and others are not
//! affected.

use std::sync::Arc;

use contract::{
    access::Role,
    booking::Wish,
    message::BookingRequested,
    topology::{DELIVERY_LIMIT, PARKED, Partition, REQUESTS},
};
use lapin::types::FieldTable;
use platform::{
    Shutdown,
    broker::{self, Broker, Consumer, Publisher, ack_all, times_returned},
};
use reqwest::Method;
use serde_json::json;
use testing::{Slot, eventually};

use crate::{
    forge::{Forge, outcome},
    harness::{Plan, SOON, System, counted, fresh_key, times_taken},
    witness::Witness,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_breaks_its_batch_is_refused_and_its_neighbours_are_sold() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, _) = system.account(Role::User).await;
    let (witness, forge) = (Witness::of(&system, show).await, Forge::new(&system, show, account));
    let one = |key: &str| forge.with_key(Wish::BestAvailable(1), key);
    // Postgres refuses NUL in a text.
    let bookings = vec![one("a"), one("poison\0"), one("b"), one("c")];
    witness.publish(&forge.envelope(bookings.clone()), FieldTable::default()).await;

    for (booking, expected) in bookings.iter().zip(["", "INTERNAL", "", ""]) {
        let (_, reason) = outcome(&system, booking.booking_id).await;
        assert_eq!(reason.unwrap_or_default(), expected);
    }
    // Once from its batch, and once for each attempt alone; counted a moment after the message is
    // parked.
    let counted = async || (times_taken("poison parked") == 5).then_some(());
    eventually("each parking is counted", SOON, counted).await;
    assert_eq!(times_taken("parked booking refused"), 1);
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_booking_among_many_costs_few_transactions() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 20, rows: 10, ..Plan::default() }).await;
    let (account, _) = system.account(Role::User).await;
    let (witness, forge) = (Witness::of(&system, show).await, Forge::new(&system, show, account));
    let one = |n: usize| {
        let key = if n == 41 { "poison\0".to_owned() } else { format!("{n}") };
        forge.with_key(Wish::BestAvailable(1), &key)
    };
    let bookings: Vec<_> = (0..64).map(one).collect();
    witness.publish(&forge.envelope(bookings.clone()), FieldTable::default()).await;
    let (last, poisoned) = (&bookings[63], &bookings[41]);
    outcome(&system, last.booking_id).await;
    // A half of the half and so on: six parts without the bad one.
    let n_committed = counted("usher_batch_bookings_count");
    assert!((1..=8).contains(&n_committed), "{n_committed}");
    // The batch, and each half that had the bad one, once.
    let failed = "usher_batch_failed_total{failure=\"Poisoned\"}";
    assert!((1..=14).contains(&counted(failed)), "{}", counted(failed));
    assert_eq!(outcome(&system, poisoned.booking_id).await.1.as_deref(), Some("INTERNAL"));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_was_refused_unweighed_answers_its_key_and_keeps_it() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, token) = system.account(Role::User).await;
    let (witness, forge) = (Witness::of(&system, show).await, Forge::new(&system, show, account));
    let (parked, unreadable) = (fresh_key(), fresh_key());
    let one = |key: &str| forge.with_key(Wish::BestAvailable(1), key);
    let two = |key: &str| forge.with_key(Wish::BestAvailable(2), key);
    let tired = BookingRequested { attempt: 4, ..one(&parked) };
    witness.park(&forge.envelope(vec![tired.clone()])).await;
    let strange = one(&unreadable);
    // More bookings than an envelope may have, in any version.
    let endless = forge.envelope(vec![strange.clone(); 65]);
    witness.publish(&endless, FieldTable::default()).await;

    for (key, refused) in [(&parked, &tired), (&unreadable, &strange)] {
        assert_eq!(outcome(&system, refused.booking_id).await.1.as_deref(), Some("INTERNAL"));
        let other = two(key);
        witness.publish(&forge.envelope(vec![other.clone()]), FieldTable::default()).await;
        let (_, reason) = outcome(&system, other.booking_id).await;
        assert_eq!(reason.as_deref(), Some("IDEMPOTENCY_KEY_REUSED"));
        let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=10")];
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        let again =
            system.call(Method::POST, "/api/v1/bookings", Some(&token), &headers, Some(body)).await;
        assert_eq!(again.body["bookingId"], refused.booking_id.to_string(), "{again:?}");
        assert_eq!(again.body["reason"], "INTERNAL", "{again:?}");
    }
    // A key that has its outcome keeps it.
    let taken = fresh_key();
    witness.publish(&forge.envelope(vec![one(&taken)]), FieldTable::default()).await;
    assert_eq!(outcome(&system, one(&taken).booking_id).await.0, "ALLOCATED");
    let late = BookingRequested { attempt: 4, ..two(&taken) };
    witness.park(&forge.envelope(vec![late.clone()])).await;
    assert_eq!(outcome(&system, late.booking_id).await.1.as_deref(), Some("INTERNAL"));
    system.stop().await;
}

/// The last guard: a message that kills every consumer before it can be parked.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_too_often_is_parked_by_the_broker_and_not_dropped() {
    let slot = Slot::take().await;
    let shutdown = Shutdown::default();
    let mut connection = Broker::connect(&slot.amqp_url, "test", &shutdown).unwrap();
    let link = connection.link_soon().await.expect("the broker is there");
    let partition = Partition { show: contract::ShowId::new(), tier: "STANDARD".parse().unwrap() };
    let channel = link.channel().await.unwrap();
    broker::declare_base(&channel).await.unwrap();
    broker::declare_requests(&channel, &partition).await.unwrap();
    broker::bind_requests(&channel, &partition).await.unwrap();
    let publisher = Publisher::new(connection);
    let (key, body) = (partition.routing_key(), fresh_key());
    publisher.publish(REQUESTS, &key, body.as_bytes()).await.unwrap();
    for times in 0..=DELIVERY_LIMIT {
        let opened = Consumer::open(Arc::clone(&link), &partition.queue(), 1).await;
        let mut consumer = opened.unwrap();
        let delivery = consumer.next().await.expect("it comes back");
        assert_eq!((times_returned(&delivery), delivery.redelivered), (times, times > 0));
        consumer.close().await;
    }
    let mut parked = Consumer::open(link, PARKED, 1).await.unwrap();
    let found = async {
        loop {
            let delivery = parked.next().await.expect("the consumer goes on");
            assert!(ack_all(&delivery).await);
            if delivery.data == body.as_bytes() {
                return delivery.routing_key;
            }
        }
    };
    let found = tokio::time::timeout(SOON, found).await.expect("it is parked");
    assert_eq!(found.as_str(), key, "it still says where it belongs");
    broker::delete_requests(&channel, &partition).await.unwrap();
    assert!(shutdown.finish(SOON).await);
}
