//! Publishing events: in order for each booking, and no event holds up those of other bookings.

use contract::topology::EVENTS;
use futures_util::StreamExt as _;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::json;
use store::outbox;
use testing::eventually;
use uuid::Uuid;

use crate::harness::{Plan, SOON, System};

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_booking_are_relayed_one_after_the_other() {
    let slot = testing::Slot::take().await;
    let pool = slot.pool();
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    for (booking, seq) in [(first, 1), (first, 2), (second, 1)] {
        append(&pool, booking, seq, "x").await;
    }
    let mut one = pool.begin().await.unwrap();
    let taken = outbox::take(&mut one, 1, &[]).await.unwrap();
    assert_eq!(taken.len(), 1);
    let mut other = pool.begin().await.unwrap();
    let rest = outbox::take(&mut other, 10, &[]).await.unwrap();
    assert_eq!(rest.len(), 1, "not the second event of the booking whose first is on its way");
    other.commit().await.unwrap();
    outbox::mark_published(&mut one, &[taken[0].outbox_id]).await.unwrap();
    one.commit().await.unwrap();
    let mut other = pool.begin().await.unwrap();
    assert_eq!(outbox::take(&mut other, 10, &[]).await.unwrap().len(), 2);
    assert_eq!(outbox::take(&mut other, 10, &[rest[0].outbox_id]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_published_holds_nobody_up() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let mut heard = listen(&system, &show.to_string()).await;
    let token = system.visitor().await;
    // Larger than the broker allows, which closes the channel.
    append(&system.pool, Uuid::new_v4(), 1, &"x".repeat(70_000)).await;
    for _ in 0..3 {
        let wish = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        let booked = system.book(&token, wish).await;
        assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
        let event = tokio::time::timeout(SOON, heard.next()).await.expect("events go on");
        let event: serde_json::Value =
            serde_json::from_slice(&event.unwrap().unwrap().data).unwrap();
        assert_eq!(event["bookingId"], booked.body["bookingId"]);
    }
    eventually("it alone waits", SOON, async || {
        let unpublished = "select count(*) from outbox where published_at is null";
        let waiting: i64 = sqlx::query_scalar(unpublished).fetch_one(&system.pool).await.unwrap();
        (waiting == 1).then_some(())
    })
    .await;
    system.stop().await;
}

async fn append(pool: &store::Pool, booking: Uuid, seq: i32, text: &str) {
    sqlx::query(
        "insert into outbox (event_id, show_id, booking_id, seq, routing_key, body)
         values ($1, $1, $2, $3, 'a.b', jsonb_build_object('text', $4))",
    )
    .bind(Uuid::new_v4())
    .bind(booking)
    .bind(seq)
    .bind(text)
    .execute(pool)
    .await
    .unwrap();
}

/// A consumer of the events of one show.
async fn listen(system: &System, show: &str) -> lapin::Consumer {
    let broker = Connection::connect(&system.slot.amqp_url, ConnectionProperties::default());
    let channel = broker.await.unwrap().create_channel().await.unwrap();
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let queue = queue.name().clone();
    let bound = channel.queue_bind(
        queue.clone(),
        EVENTS.into(),
        format!("{show}.*").into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap()
}
