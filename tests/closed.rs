//! A sale closes while some accepted bookings are not in its queue.

use std::time::Duration;

use contract::{
    ProducerId,
    access::Role,
    deadline::BOOKING_DEADLINE,
    message::{BookingRequested, Number},
    topology::{Partition, REQUESTS},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde_json::{Value, json};
use testing::eventually;

use crate::{
    forge::{Forge, outcome},
    harness::{Plan, SOON, System},
};

/// Longest time until a drained queue is deleted, on a busy machine.
const GONE_BY: Duration = Duration::from_secs(40);

async fn publish(channel: &Channel, partition: &Partition, body: &[u8]) {
    let key = partition.routing_key();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent =
        channel.basic_publish(REQUESTS.into(), key.as_str().into(), options, body, persistent);
    sent.await.unwrap().await.expect("the broker takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_before_the_closing_is_decided_and_what_came_after_it_is_refused() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 20, ..Plan::default() }).await;
    let partition = Partition { show, tier: "STANDARD".parse().unwrap() };
    let (account, _) = system.account(Role::User).await;
    let forge = Forge::new(&system, show, account);
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&system.slot.amqp_url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();

    // Three bookings were accepted: one of a newer version, one that is parked, one that is late.
    let producer = ProducerId::new();
    let numbered = |n| BookingRequested { number: Some(Number { producer, n }), ..forge.any() };
    let (newer, parked, mut late) = (numbered(0), numbered(1), numbered(2));
    late.deadline = platform::clock::now() - Duration::from_secs(1);
    system.report_accepted(&partition, producer, 3, true).await;
    let mut body: Value = serde_json::from_slice(&forge.envelope(vec![newer.clone()])).unwrap();
    body["bookings"][0]["kind"] = json!("LOAN");
    publish(&channel, &partition, body.to_string().as_bytes()).await;
    eventually("it waits for a newer version", SOON, async || {
        let waiting = sqlx::query_scalar("select count(*) from waiting_messages");
        let waiting: i64 = waiting.fetch_one(&system.pool).await.unwrap();
        (waiting == 1).then_some(())
    })
    .await;

    let (_, admin) = system.account(Role::Admin).await;
    let closed = system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    assert!(closed.status.is_success(), "{closed:?}");
    eventually("what is accepted now is refused: the queue is unbound", SOON, async || {
        let mut after = forge.any();
        after.deadline = platform::clock::now() + BOOKING_DEADLINE;
        publish(&channel, &partition, &forge.envelope(vec![after.clone()])).await;
        let (_, reason) = outcome(&system, after.booking_id).await;
        (reason.as_deref() == Some("SALE_CLOSED")).then_some(())
    })
    .await;

    // As the consumer of the parking queue sends it back.
    let parked = BookingRequested { attempt: 1, ..parked };
    publish(&channel, &partition, &forge.envelope(vec![parked.clone(), late.clone()])).await;
    sqlx::query(
        "update waiting_messages
         set body = convert_to(replace(convert_from(body, 'UTF8'), 'LOAN', 'ORDER'), 'UTF8')",
    )
    .execute(&system.pool)
    .await
    .unwrap();
    for request in [&parked, &newer] {
        let outcome = outcome(&system, request.booking_id).await;
        assert_eq!(outcome, ("ALLOCATED".to_owned(), None));
    }
    assert_eq!(outcome(&system, late.booking_id).await.1.as_deref(), Some("EXPIRED"));

    eventually("all are counted, and the queue is gone", GONE_BY, async || {
        let ready = "select count(*) from partitions where queue_ready_at is not null";
        let ready: i64 = sqlx::query_scalar(ready).fetch_one(&system.pool).await.unwrap();
        (ready == 0).then_some(())
    })
    .await;
    let bookings = [&newer, &parked, &late].map(|request| request.booking_id);
    let audit = system.audit(&bookings).await;
    assert!(audit.is_clean(), "{audit:?}");
    connection.close(200, "done".into()).await.unwrap();
    system.stop().await;
}
