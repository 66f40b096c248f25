//! Publishing events: at once from memory, with the outbox as the net; no event holds up those of other
//! bookings.

use contract::{
    AccountId, BookingId, ShowId,
    booking::Reason,
    message::BookingEvent,
    topology::{EVENTS, Partition},
};
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
async fn a_message_is_left_to_its_writer_for_a_while_and_then_to_anybody() {
    let slot = testing::Slot::take().await;
    let pool = slot.pool();
    let partition = Partition { show: ShowId::new(), tier: "STANDARD".parse().unwrap() };
    let event = || {
        let (booking, account) = (BookingId::new(), AccountId::new());
        let event = BookingEvent::new(&partition, booking, account, 1, platform::clock::now());
        event.rejected(Reason::SoldOut)
    };
    let mut writing = pool.begin().await.unwrap();
    let own = outbox::append_own(&mut writing, &[event(), event()]).await.unwrap();
    outbox::append(&mut writing, &[event()]).await.unwrap();
    writing.commit().await.unwrap();
    let [own] = &own[..] else { panic!("both events share a message: {own:?}") };
    let waiting = async || {
        let mut tx = pool.begin().await.unwrap();
        let taken = outbox::take(&mut tx, 10, &[]).await.unwrap();
        taken.into_iter().map(|message| message.outbox_id).collect::<Vec<_>>()
    };
    let left_for = async |seconds: f64| {
        let left = "update outbox set left_until = clock_timestamp() + make_interval(secs => $1)
                    where outbox_id = $2";
        sqlx::query(left).bind(seconds).bind(own.outbox_id).execute(&pool).await.unwrap();
        waiting().await
    };
    let others = left_for(5.0).await;
    assert_eq!(others.len(), 1, "the one that nobody publishes from memory");
    assert_ne!(others[0], own.outbox_id);
    assert!(left_for(-0.1).await.contains(&own.outbox_id), "its writer is given up");
    assert!(left_for(60.0).await.contains(&own.outbox_id), "written before the clock was set back");
}

/// A relay takes a message no sooner than its writer is given up.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_go_out_from_memory_and_are_marked() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let mut heard = listen(&system, &show.to_string()).await;
    let wish = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let booked = system.book(&system.visitor().await, wish).await;
    assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    let event = tokio::time::timeout(SOON, heard.next()).await.expect("it is told");
    let event: serde_json::Value = serde_json::from_slice(&event.unwrap().unwrap().data).unwrap();
    assert_eq!(event["bookingId"], booked.body["bookingId"]);
    eventually("it is marked", SOON, async || {
        let marked = "select count(*) from outbox where published_at < left_until";
        let marked: i64 = sqlx::query_scalar(marked).fetch_one(&system.pool).await.unwrap();
        (marked == 1).then_some(())
    })
    .await;
    system.stop().await;
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
