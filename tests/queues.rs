//! The life of a queue: deleting or unbinding one by hand loses no accepted booking that comes
//! after, and the end of a sale deletes no queue before everything accepted for it is decided.

use std::time::Duration;

use contract::{
    BookingId, ProducerId, ShowId,
    access::Role,
    message::Number,
    topology::{Partition, REQUESTS},
};
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use platform::{
    Shutdown,
    broker::{self, Broker},
};
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::{acceptance, many, partitions};
use testing::eventually;
use tokio::time::Instant;
use usher::up::Allocation;

use crate::{
    alone::Allocator,
    harness::{Plan, SOON, System, counted, fresh_key},
};

/// Longest time until a drained queue is deleted, or many queues are served, on a busy machine.
const DONE_BY: Duration = Duration::from_secs(40);

fn partition(show: ShowId) -> Partition {
    Partition { show, tier: "STANDARD".parse().unwrap() }
}

pub(crate) async fn channel(system: &System) -> (Connection, Channel) {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&system.slot.amqp_url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn is_there(system: &System, show: ShowId) -> bool {
    let (connection, channel) = channel(system).await;
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let queue = partition(show).queue();
    let looked = channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await;
    connection.close(200, "done".into()).await.unwrap();
    looked.is_ok()
}

/// A booking that was answered 202.
async fn accepted(system: &System, token: &str, show: ShowId) -> BookingId {
    let wish = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let key = fresh_key();
    let headers = [("idempotency-key", key.as_str())];
    let answer =
        system.call(Method::POST, "/api/v1/bookings", Some(token), &headers, Some(wish)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer.body["bookingId"].as_str().unwrap().parse().unwrap()
}

pub(crate) async fn are_decided(system: &System, bookings: &[BookingId]) {
    let ids: Vec<_> = bookings.iter().map(|booking| booking.0).collect();
    eventually("everything accepted is decided", SOON, async || {
        let decided = "select count(*) from bookings where booking_id = any($1)";
        let decided: i64 =
            sqlx::query_scalar(decided).bind(&ids).fetch_one(&system.pool).await.unwrap();
        (decided == i64::try_from(ids.len()).unwrap()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_somebody_deleted_is_declared_again_and_no_other_show_notices() {
    let system = System::start().await;
    let (hit, other) = (system.show(Plan::default()).await, system.show(Plan::default()).await);
    let token = system.visitor().await;
    are_decided(&system, &[accepted(&system, &token, other).await]).await;
    let (connection, channel) = channel(&system).await;
    let queue = partition(hit).queue();
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    connection.close(200, "done".into()).await.unwrap();

    // Bookings accepted while there is no queue wait as unrouted, and come back.
    let mut bookings = Vec::new();
    for _ in 0..5 {
        bookings.push(accepted(&system, &token, hit).await);
        bookings.push(accepted(&system, &token, other).await);
    }
    are_decided(&system, &bookings).await;
    assert!(is_there(&system, hit).await);
    are_served(&system, 2).await;
    let audit = system.audit(&bookings).await;
    assert!(audit.is_clean(), "{audit:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_unbound_by_hand_is_bound_again_by_the_first_booking_that_misses_it() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    are_decided(&system, &[accepted(&system, &token, show).await]).await;
    let (connection, channel) = channel(&system).await;
    broker::unbind_requests(&channel, &partition(show)).await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
    let missed = accepted(&system, &token, show).await;
    are_decided(&system, &[missed]).await;
    let direct = accepted(&system, &token, show).await;
    are_decided(&system, &[direct]).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_sale_keeps_its_queue_until_everything_accepted_is_decided() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 20, ..Plan::default() }).await;
    let (_, admin) = system.account(Role::Admin).await;
    let token = system.visitor().await;
    are_decided(&system, &[accepted(&system, &token, show).await]).await;

    // The partition's row is locked, so that no batch can commit.
    let mut tx = system.pool.begin().await.unwrap();
    let hold = "select from partitions where show_id = $1 for update";
    sqlx::query(hold).bind(show.0).execute(&mut *tx).await.unwrap();
    let mut bookings = Vec::new();
    for _ in 0..10 {
        bookings.push(accepted(&system, &token, show).await);
    }
    let closed = system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    assert_eq!(closed.status, StatusCode::OK, "{closed:?}");
    // Longer than it takes to unbind a queue and to find it empty. The database ends a transaction
    // that idles, so this one runs a statement now and then.
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        sqlx::query(hold).bind(show.0).execute(&mut *tx).await.unwrap();
        assert!(is_there(&system, show).await, "it holds what was accepted");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tx.rollback().await.unwrap();

    are_decided(&system, &bookings).await;
    system.queues_are_gone(show, DONE_BY).await;
    assert!(!is_there(&system, show).await);
    let audit = system.audit(&bookings).await;
    assert!(audit.is_clean(), "{audit:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sale_has_no_producer_for_each_booking_and_none_once_it_is_closed() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (_, admin) = system.account(Role::Admin).await;
    let producers = async || -> (i64, i64) {
        let producers = "select count(*), count(sealed_at) from accepted where show_id = $1";
        sqlx::query_as(producers).bind(show.0).fetch_one(&system.pool).await.unwrap()
    };
    for _ in 0..3 {
        accepted(&system, &system.visitor().await, show).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(producers().await, (1, 0));
    let closed = system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    assert_eq!(closed.status, StatusCode::OK, "{closed:?}");
    eventually("it is sealed", SOON, async || (producers().await == (1, 1)).then_some(())).await;
    system.stop().await;
}

/// A dead ingress node may have accepted bookings that it did not report.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_outlives_its_sale_by_the_deadline_where_a_producer_was_never_sealed() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (_, admin) = system.account(Role::Admin).await;
    system.report_accepted(&partition(show), ProducerId::new(), 0, false).await;
    let closed = system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    assert_eq!(closed.status, StatusCode::OK, "{closed:?}");
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        assert!(is_there(&system, show).await, "something may be in it");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let later = "update accepted set told_at = told_at - interval '18 minutes'";
    sqlx::query(later).execute(&system.pool).await.unwrap();
    eventually("every deadline is over, and it is gone", DONE_BY, async || {
        (!is_there(&system, show).await).then_some(())
    })
    .await;
    system.stop().await;
}

/// Puts a scheduled show on sale and makes its queues as an allocator would. Nobody consumes them.
pub(crate) async fn on_sale_without_allocator(system: &System, show: ShowId) {
    let shutdown = Shutdown::default();
    let mut link = Broker::connect(&system.slot.amqp_url, "test", &shutdown).unwrap();
    let link = link.link_soon().await.unwrap();
    let channel = link.channel().await.unwrap();
    let partition = partition(show);
    broker::declare_base(&channel).await.unwrap();
    broker::declare_requests(&channel, &partition).await.unwrap();
    broker::bind_requests(&channel, &partition).await.unwrap();
    let open = "update shows set sale_state = 'ON_SALE' where show_id = $1";
    let open = sqlx::query(open).bind(show.0).execute(&system.pool).await;
    open.expect("the sale opens");
    partitions::queue_is_ready(&system.pool, &partition).await.unwrap();
    assert!(shutdown.finish(SOON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_lost_is_found_by_the_audit_with_its_partition() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let show = system.scheduled_show(Plan::default()).await;
    on_sale_without_allocator(&system, show).await;
    let partition = partition(show);
    let token = system.visitor().await;
    eventually("the door knows", SOON, async || {
        let wish = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        let answer = system.post("/api/v1/bookings", &token, wish).await;
        (answer.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    for _ in 0..4 {
        accepted(&system, &token, show).await;
    }
    eventually("all of it is counted", SOON, async || {
        let undecided = acceptance::undecided(&system.pool).await.unwrap();
        (undecided.get(&partition) == Some(&5)).then_some(())
    })
    .await;
    let lost = async || {
        let mut connection = system.pool.acquire().await.unwrap();
        acceptance::lost(&mut connection, None).await.unwrap()
    };
    assert_eq!(lost().await, [], "it waits in its queue");

    let (_broker, channel) = channel(&system).await;
    channel
        .queue_delete(partition.queue().as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let later = "update accepted set told_at = told_at - interval '20 minutes'";
    sqlx::query(later).execute(&system.pool).await.unwrap();
    assert_eq!(lost().await, [(partition.clone(), 5)]);
    // A booking with an outcome is not lost, even if it is reported again.
    let producer: uuid::Uuid = sqlx::query_scalar("select producer_id from accepted")
        .fetch_one(&system.pool)
        .await
        .unwrap();
    let number = |n| Number { producer: ProducerId(producer), n };
    for _ in 0..2 {
        let mut connection = system.pool.acquire().await.unwrap();
        let decided = [number(0), number(4), number(1)];
        acceptance::are_decided(&mut connection, &partition, decided).await.unwrap();
    }
    assert_eq!(lost().await, [(partition, 2)]);
    system.stop().await;
}

/// Some hundred unrouted messages, of which half are too late.
#[tokio::test(flavor = "multi_thread")]
async fn what_found_no_queue_comes_back_in_batches_and_ends_with_its_deadline() {
    let system = System::start().await;
    let show = system.show(Plan { rows: 20, seats: 20, per_user: 20, ..Plan::default() }).await;
    let (account, _) = system.account(Role::User).await;
    let forge = crate::forge::Forge::new(&system, show, account);
    let (connection, channel) = channel(&system).await;
    broker::unbind_requests(&channel, &partition(show)).await.unwrap();
    let confirms = lapin::options::ConfirmSelectOptions::default();
    channel.confirm_select(confirms).await.unwrap();
    let mut bookings = Vec::new();
    for n in 0..200 {
        let mut request = forge.any();
        if n % 2 == 0 {
            request.deadline = platform::clock::now() - Duration::from_secs(1);
        }
        bookings.push(request.booking_id);
        let body = forge.envelope(vec![request]);
        let persistent = lapin::BasicProperties::default().with_delivery_mode(2);
        let key = partition(show).routing_key();
        channel
            .basic_publish(
                REQUESTS.into(),
                key.as_str().into(),
                lapin::options::BasicPublishOptions::default(),
                &body,
                persistent,
            )
            .await
            .unwrap()
            .await
            .unwrap();
    }
    // One by one, at half a second each, they would take more than a minute and a half.
    are_decided(&system, &bookings).await;
    let expired = "select count(*) from bookings where show_id = $1 and reason = 'EXPIRED'";
    let expired: i64 =
        sqlx::query_scalar(expired).bind(show.0).fetch_one(&system.pool).await.unwrap();
    assert_eq!(expired, 100);
    connection.close(200, "done".into()).await.unwrap();
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_partitions_than_a_connection_has_channels_are_all_served() {
    let mut slot = testing::Slot::take().await;
    slot.amqp_url.push_str("?channel_max=10");
    let system = System::start_at(slot, Allocation::Here).await;
    let token = system.visitor().await;
    let mut bookings = Vec::new();
    for _ in 0..6 {
        let show = system.show(Plan { balcony: true, ..Plan::default() }).await;
        bookings.push(accepted(&system, &token, show).await);
    }
    are_decided(&system, &bookings).await;
    are_served(&system, 12).await;
    system.stop().await;
}

async fn are_served(system: &System, queues: i64) {
    eventually("all are served", DONE_BY, async || {
        let served = "select count(*) from backlogs where served_by is not null";
        let served: i64 = sqlx::query_scalar(served).fetch_one(&system.pool).await.unwrap();
        (served == queues).then_some(())
    })
    .await;
}

/// All partitions are kept before the allocator knows how many channels a connection has.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_were_there_before_the_allocator_are_all_served() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let (_, admin) = system.account(Role::Admin).await;
    let show = system.scheduled_show(Plan { balcony: true, ..Plan::default() }).await;
    let opened = system.post(&format!("/api/v1/shows/{show}/open"), &admin, json!({})).await;
    assert!(opened.status.is_success(), "{opened:?}");
    many::copy_on_sale(&system.pool, show, 14).await.unwrap();
    let amqp_url = format!("{}?channel_max=10", system.slot.amqp_url);
    let _allocator = Allocator::start_with_broker_at(&system, &amqp_url);
    are_served(&system, 30).await;
    system.stop().await;
}

/// An allocator of a version before numbers decides without recording them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_numbered_while_an_allocator_is_about_that_would_not_say_what_it_decided() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let old = "insert into allocators (allocator_id, name) values ($1, 'old')
               on conflict (allocator_id) do update set heartbeat_at = clock_timestamp()";
    let old = sqlx::query(old).bind(uuid::Uuid::now_v7()).execute(&system.pool).await;
    old.expect("it is written down");
    let unnumbered = "usher_accepted_unnumbered_total";
    eventually("it is known at the door", SOON, async || {
        let before = counted(unnumbered);
        are_decided(&system, &[accepted(&system, &token, show).await]).await;
        (counted(unnumbered) > before).then_some(())
    })
    .await;
    system.stop().await;
}
