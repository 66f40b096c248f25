//! What breaks those who handle it: found, set apart, answered; its neighbours never notice.

use std::{sync::Arc, time::Duration};

use contract::{
    BookingId, TierCode,
    access::Role,
    booking::{Kind, Wish},
    booking_id::{Asked, BookingIds},
    message::{BookingRequested, Envelope},
    topology::{Partition, REQUESTS},
};
use platform::{
    Shutdown,
    broker::{self, Broker, Publisher, Session, times_returned},
};
use store::testing::{Slot, eventually};

use crate::harness::{Plan, SOON, System};

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_breaks_its_batch_is_refused_and_its_neighbours_are_sold() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, _) = system.account(Role::User).await;
    let tier: TierCode = "STANDARD".parse().unwrap();
    let ids = BookingIds::new(&system.slot.master_key());
    let request = |key: &str| {
        let (kind, wish) = (Kind::Order, Wish::BestAvailable(1));
        let asked = Asked { account, show, tier: &tier, kind, wish: &wish, key };
        BookingRequested {
            booking_id: ids.derive(&asked),
            account_id: account,
            kind,
            wish,
            idempotency_key: Some(key.to_owned()),
            ticket_id: None,
            deadline: platform::clock::now() + Duration::from_mins(10),
            traceparent: None,
            attempt: 0,
        }
    };
    // Postgres takes no NUL in a text.
    let bookings = vec![request("a"), request("poison\0"), request("b"), request("c")];
    let asked: Vec<BookingId> = bookings.iter().map(|booking| booking.booking_id).collect();
    let envelope = Envelope { v: 1, show_id: show, tier: tier.clone(), bookings };
    let shutdown = Shutdown::default();
    let mut link = Broker::connect(&system.slot.amqp_url, "test", &shutdown).unwrap();
    link.link_soon().await.expect("the broker is there");
    let key = Partition { show, tier }.routing_key();
    Publisher::new(link).publish(REQUESTS, &key, &envelope.encode()).await.unwrap();

    for (booking, expected) in asked.into_iter().zip(["", "INTERNAL", "", ""]) {
        let reason = eventually("the booking has an outcome", SOON, async || {
            sqlx::query_scalar::<_, Option<String>>(
                "select reason::text from bookings where booking_id = $1",
            )
            .bind(booking.0)
            .fetch_optional(&system.pool)
            .await
            .unwrap()
        })
        .await;
        assert_eq!(reason.unwrap_or_default(), expected);
    }
    assert!(system.audit(&[]).await.is_clean());
    assert!(shutdown.finish(SOON).await);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_says_how_often_it_came_back() {
    let slot = Slot::take().await;
    let shutdown = Shutdown::default();
    let mut connection = Broker::connect(&slot.amqp_url, "test", &shutdown).unwrap();
    let link = connection.link_soon().await.expect("the broker is there");
    let partition = Partition { show: contract::ShowId::new(), tier: "STANDARD".parse().unwrap() };
    let channel = link.channel().await.unwrap();
    broker::declare_base(&channel).await.unwrap();
    broker::declare_requests(&channel, &partition).await.unwrap();
    let publisher = Publisher::new(connection);
    publisher.publish(REQUESTS, &partition.routing_key(), b"again and again").await.unwrap();
    for times in 0..4 {
        let opened = Session::open(Arc::clone(&link), &partition.queue(), 1).await;
        let mut session = opened.unwrap();
        let delivery = session.next().await.expect("it comes back");
        assert_eq!((times_returned(&delivery), delivery.redelivered), (times, times > 0));
        session.close().await;
    }
    broker::delete_requests(&channel, &partition).await.unwrap();
    assert!(shutdown.finish(SOON).await);
}
