//! Admission follows the booking queues and the stock: it holds for queues that nobody serves,
//! slows down for slow ones, and stops without seats.

use std::time::Duration;

use contract::{ShowId, access::Role, api::catalogue::RoomMode};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use store::backlogs;
use testing::eventually;
use tokio::time::timeout;
use usher::up::Allocation;

use super::{Allocator, TAKEOVER};
use crate::{
    beside::Beside,
    harness::{Answer, Plan, SOON, System},
    journey::{LiveSocket, frame_where, socket},
};

/// A visitor who watches its place.
struct Watcher {
    token: String,
    place: String,
    socket: LiveSocket,
}

impl Watcher {
    async fn join(system: &System, show: ShowId) -> Self {
        let token = system.visitor().await;
        let joined = system.post(&format!("/api/v1/shows/{show}/queue"), &token, json!({})).await;
        let text = |name: &str| joined.body[name].as_str().expect("a place").to_owned();
        let protocols = format!("usher.v1, place-ticket.{}", text("placeTicket"));
        let socket = socket(system, &text("liveUrl"), &protocols).await;
        let place = format!("/api/v1/shows/{show}/queue/{}", text("ticketId"));
        Self { token, place, socket }
    }

    async fn hears(&mut self, kind: &str) -> Value {
        frame_where(&mut self.socket, |frame| frame["type"] == kind).await
    }

    /// As [`Self::hears`], but waits for another allocator to take over.
    async fn hears_after_takeover(&mut self, kind: &str) {
        let heard = async { while next(&mut self.socket).await["type"] != kind {} };
        timeout(TAKEOVER, heard).await.expect("a new allocator takes over");
    }

    async fn admitted(&mut self) -> String {
        self.hears("admitted").await["pass"].as_str().expect("the room is on").to_owned()
    }

    async fn books(&self, system: &System, show: ShowId, pass: &str, wait: &str) -> Answer {
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        let headers = [("admission-pass", pass), ("prefer", wait)];
        system.call(Method::POST, "/api/v1/bookings", Some(&self.token), &headers, Some(body)).await
    }
}

async fn next(socket: &mut LiveSocket) -> Value {
    socket.next().await.expect("the socket stays open")
}

async fn set_room(system: &System, show: ShowId, change: Value) {
    let (_, admin) = system.account(Role::Admin).await;
    let path = format!("/api/v1/shows/{show}/waiting-room");
    let set = system.call(Method::PATCH, &path, Some(&admin), &[], Some(change)).await;
    assert!(set.status.is_success(), "{set:?}");
}

/// Waits until the last look of an allocator at the show's queue is this many seconds old.
async fn served(system: &System, show: ShowId, seconds: std::ops::Range<f64>) {
    eventually("the queue is served, or is not", SOON, async || {
        let silent: Option<f64> = sqlx::query_scalar(
            "select extract(epoch from clock_timestamp() - seen_at)::float8
             from backlogs where show_id = $1",
        )
        .bind(show.0)
        .fetch_optional(&system.pool)
        .await
        .unwrap();
        silent.filter(|silent| seconds.contains(silent))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_admitted_while_nobody_serves_the_queues() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let allocator = Allocator::start(&system);
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    served(&system, show, 0.0..3.0).await;
    set_room(&system, show, json!({"paused": true})).await;
    let mut watcher = Watcher::join(&system, show).await;
    watcher.hears("paused").await;
    allocator.kill();
    served(&system, show, 6.5..1e6).await;
    set_room(&system, show, json!({"paused": false})).await;
    let held = watcher.hears("paused").await;
    assert!(held["detail"].as_str().unwrap().contains("held"), "{held}");
    let _allocator = Allocator::start(&system);
    watcher.hears_after_takeover("resumed").await;
    watcher.admitted().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_admitted_while_it_cannot_be_told_what_is_undecided_and_sales_go_on_opening() {
    let system = System::start().await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    Watcher::join(&system, show).await.admitted().await;
    set_room(&system, show, json!({"paused": true})).await;
    let mut watcher = Watcher::join(&system, show).await;
    watcher.hears("paused").await;
    let mut direct = system.direct().await;
    let rename = |sql: &'static str| sqlx::raw_sql(sql);
    rename("alter table decided rename to decided_elsewhere").execute(&mut direct).await.unwrap();
    // The allocator still runs, and takes up new queues.
    system.show(Plan::default()).await;
    eventually("the last word of the queue is old", SOON, async || {
        let backlogs = backlogs::of_lines(&system.pool, &[show]).await.unwrap();
        (backlogs[&show].silent > Duration::from_secs(6)).then_some(())
    })
    .await;
    set_room(&system, show, json!({"paused": false})).await;
    let held = watcher.hears("paused").await;
    assert!(held["detail"].as_str().unwrap().contains("held"), "{held}");
    rename("alter table decided_elsewhere rename to decided").execute(&mut direct).await.unwrap();
    watcher.hears("resumed").await;
    watcher.admitted().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_slows_while_the_queue_grows_and_revoked_passes_buy_nothing() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let beside = Beside::of(&system.slot);
    let _allocator = Allocator::start(&system);
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    set_room(&system, show, json!({"maxActive": 2})).await;
    let (mut buyer, mut leaver) =
        (Watcher::join(&system, show).await, Watcher::join(&system, show).await);
    let (pass, revoked) = (buyer.admitted().await, leaver.admitted().await);
    // The cap keeps this visitor waiting, so that it hears the rate of the line.
    let mut last = Watcher::join(&system, show).await;
    let rate = |frame: &Value| frame["ratePerSecond"].as_f64().unwrap_or(f64::MAX);
    assert!(rate(&last.hears("position").await) > 99.0);

    // The partition's row is locked, so its bookings wait.
    let mut blocker = system.pool.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *blocker)
        .await
        .unwrap();
    sqlx::query("select from partitions where show_id = $1 for update")
        .bind(show.0)
        .execute(&mut *blocker)
        .await
        .unwrap();
    let first = buyer.books(&system, show, &pass, "wait=0").await;
    let second = leaver.books(&system, show, &revoked, "wait=0").await;
    for accepted in [&first, &second] {
        assert_eq!(accepted.status.as_u16(), 202, "{accepted:?}");
    }
    let slowed =
        frame_where(&mut last.socket, |frame| frame["type"] == "position" && rate(frame) < 90.0);
    let slowest = rate(&slowed.await);
    let left = system.call(Method::DELETE, &leaver.place, Some(&leaver.token), &[], None).await;
    assert_eq!(left.status.as_u16(), 204);
    let refused = eventually("a node at the door knows, too", SOON, async || {
        let again = leaver.books(&system, show, &revoked, "wait=0").await;
        (again.code() == "PASS_INVALID").then_some(())
    });
    let ((), took) = beside.timed(refused).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    blocker.rollback().await.unwrap();
    let outcome = async |answer: &Answer, token: &str| {
        let path = format!("/api/v1/bookings/{}", answer.body["bookingId"].as_str().unwrap());
        eventually("the booking is decided", SOON * 2, async || {
            let booking = system.get(&path, Some(token)).await.body;
            (booking["status"] != "QUEUED").then_some(booking)
        })
        .await
    };
    assert_eq!(outcome(&first, &buyer.token).await["status"], "ALLOCATED");
    assert_eq!(outcome(&second, &leaver.token).await["reason"], "PASS_USED");
    // The last visitor gets the leaver's slot; a new visitor hears that the rate rises.
    last.admitted().await;
    let mut behind = Watcher::join(&system, show).await;
    frame_where(&mut behind.socket, |frame| {
        frame["type"] == "position" && rate(frame) > slowest && rate(frame) <= 100.0
    })
    .await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_all_is_held_is_told_within_two_seconds_and_seats_that_come_back_resume_the_line() {
    let system = System::start().await;
    let beside = Beside::of(&system.slot);
    let show =
        system.show(Plan { room: RoomMode::Fifo, rows: 1, seats: 2, ..Plan::default() }).await;
    set_room(&system, show, json!({"maxActive": 2})).await;
    let mut buyers = Vec::new();
    let mut orders = Vec::new();
    for _ in 0..2 {
        buyers.push(Watcher::join(&system, show).await);
    }
    let mut waiting = Watcher::join(&system, show).await;
    for buyer in &mut buyers {
        let pass = buyer.admitted().await;
        let booked = buyer.books(&system, show, &pass, "wait=10").await;
        assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
        orders.push(booked.body["order"]["orderId"].as_str().unwrap().to_owned());
    }
    let (_, took) = beside.timed(waiting.hears("all_held")).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    // A payment frees a slot, but no seat is left.
    let pay = format!("/api/v1/orders/{}/confirm-payment", orders[0]);
    let paid = system.post(&pay, &buyers[0].token, json!({"method": "mock"})).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    let cancel = format!("/api/v1/orders/{}/cancel", orders[1]);
    let cancelled = system.post(&cancel, &buyers[1].token, json!({})).await;
    assert_eq!(cancelled.body["status"], "CANCELLED", "{cancelled:?}");
    waiting.hears("resumed").await;
    let pass = waiting.admitted().await;
    let booked = waiting.books(&system, show, &pass, "wait=10").await;
    assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    system.stop().await;
}
