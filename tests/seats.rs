//! Reading seats: the map of a show, and its live seats, of which no frame is missing.

use std::collections::BTreeMap;

use contract::{ShowId, api::catalogue::SeatsFrame};
use futures_util::{StreamExt as _, future::join_all};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Slot, proxy::Proxy};
use tokio::time::{Instant, timeout_at};
use usher::up::Allocation;

use crate::{
    abuse::wire::Wire,
    harness::{Plan, SOON, System, counted},
    journey::{LiveSocket, socket},
};

/// What a client knows that starts with free seats and follows the frames.
struct Watcher {
    socket: LiveSocket,
    version: u64,
    known: BTreeMap<String, &'static str>,
}

impl Watcher {
    async fn of(system: &System, show: ShowId) -> Self {
        let token = system.visitor().await;
        let path = format!("/api/v1/shows/{show}/seats/live");
        let socket = socket(system, &path, &format!("usher.v1, bearer.{token}")).await;
        Self { socket, version: 0, known: BTreeMap::new() }
    }

    /// Follows until these seats, and no others, are taken.
    async fn sees(&mut self, taken: &[(&str, &'static str)]) {
        let wanted: BTreeMap<_, _> =
            taken.iter().map(|(seat, state)| ((*seat).to_owned(), *state)).collect();
        let until = Instant::now() + SOON;
        while self.version == 0 || self.known != wanted {
            let frame = timeout_at(until, self.socket.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("{:?} stays", self.known));
            self.follow(frame.expect("the socket stays open"));
        }
    }

    fn follow(&mut self, frame: Value) {
        let SeatsFrame::Seats(change) = serde_json::from_value(frame).expect("a frame of seats");
        self.version += 1;
        assert_eq!(change.version, self.version, "a frame is missing");
        for (seats, state) in [(change.held, "held"), (change.sold, "sold")] {
            self.known.extend(seats.into_iter().map(|seat| (seat.to_string(), state)));
        }
        for seat in change.released {
            self.known.remove(seat.as_str());
        }
    }
}

async fn hold(system: &System, token: &str, show: ShowId, seats: &[&str]) -> String {
    let body = json!({"showId": show, "tier": "STANDARD", "seats": seats});
    let held = system.post("/api/v1/holds", token, body).await;
    assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
    held.id("holdId")
}

/// Books a seat and returns its order, which is not paid yet.
async fn book(system: &System, token: &str, show: ShowId, seat: &str) -> String {
    let body = json!({"showId": show, "tier": "STANDARD", "seats": [seat]});
    let booked = system.book(token, body).await;
    booked.body["order"]["orderId"].as_str().expect("it is allocated").to_owned()
}

async fn pay(system: &System, token: &str, order: &str) {
    let pay = format!("/api/v1/orders/{order}/confirm-payment");
    let paid = system.post(&pay, token, json!({"method": "mock"})).await;
    assert_eq!(paid.status, StatusCode::OK, "{paid:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_seats_sees_each_change_and_who_comes_late_the_state() {
    let system = System::start().await;
    let show = system.show(Plan { balcony: true, ..Plan::default() }).await;
    let other = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let mut early = Watcher::of(&system, show).await;
    early.sees(&[]).await;

    let held = hold(&system, &token, show, &["B1", "B2"]).await;
    early.sees(&[("B1", "held"), ("B2", "held")]).await;
    hold(&system, &token, other, &["B3"]).await;
    let order = book(&system, &token, show, "C5").await;
    early.sees(&[("B1", "held"), ("B2", "held"), ("C5", "held")]).await;
    pay(&system, &token, &order).await;
    early.sees(&[("B1", "held"), ("B2", "held"), ("C5", "sold")]).await;

    let mut late = Watcher::of(&system, show).await;
    late.sees(&[("B1", "held"), ("B2", "held"), ("C5", "sold")]).await;
    assert_eq!(late.version, 1);

    let path = format!("/api/v1/holds/{held}");
    let released = system.call(Method::DELETE, &path, Some(&token), &[], None).await;
    assert_eq!(released.status, StatusCode::NO_CONTENT, "{released:?}");
    early.sees(&[("C5", "sold")]).await;
    late.sees(&[("C5", "sold")]).await;
    let cancel = format!("/api/v1/orders/{order}/cancel");
    let cancelled = system.post(&cancel, &token, json!({})).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{cancelled:?}");
    early.sees(&[]).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_lapses_frees_its_seats_before_who_watches_them() {
    let system = System::start().await;
    let show = system.show(Plan { hold_seconds: 2, ..Plan::default() }).await;
    let mut watcher = Watcher::of(&system, show).await;
    hold(&system, &system.visitor().await, show, &["A1"]).await;
    watcher.sees(&[("A1", "held")]).await;
    watcher.sees(&[]).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_event_is_lost_is_told_when_the_broker_is_back() {
    let mut slot = Slot::take().await;
    let proxy = Proxy::before(&mut slot.amqp_url).await;
    let system = System::start_at(slot, Allocation::Here).await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let mut watcher = Watcher::of(&system, show).await;
    let order = book(&system, &token, show, "C5").await;
    watcher.sees(&[("C5", "held")]).await;

    // The event of the payment never comes.
    for statement in [
        "create function lose() returns trigger language plpgsql as 'begin return null; end'",
        "create trigger lose before insert on outbox for each row execute function lose()",
    ] {
        sqlx::query(statement).execute(&system.pool).await.unwrap();
    }
    pay(&system, &token, &order).await;
    proxy.reset();
    watcher.sees(&[("C5", "sold")]).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_of_a_show_that_is_not_there_are_not_found() {
    let system = System::start().await;
    let path = format!("/api/v1/shows/{}/seats/live", ShowId::new());
    let protocols = format!("usher.v1, bearer.{}", system.visitor().await);
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    assert_eq!(Wire::open(system.address, &path, &headers).await.err(), Some(404));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_read_a_seat_map_at_once_share_one_read() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let path = format!("/api/v1/shows/{show}/seatmap");
    let before = counted("usher_catalogue_reads_total");
    let began = Instant::now();
    let answers = join_all((0..100).map(|_| system.get(&path, None))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    // An answer is fresh for 400 ms.
    let most = 1 + began.elapsed().as_millis() / 400;
    let n_read = counted("usher_catalogue_reads_total") - before;
    assert!((1..=most).contains(&n_read.into()), "{n_read} reads, at most {most}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hall_of_100_000_seats_is_made_read_and_sold() {
    let system = System::start().await;
    let show = system.show(Plan { rows: 200, seats: 500, ..Plan::default() }).await;
    let path = format!("/api/v1/shows/{show}/seatmap");
    let whole = system.get(&path, None).await;
    assert_eq!(whole.body["layout"]["rows"].as_array().unwrap().len(), 200);
    let length = whole.headers["content-length"].to_str().unwrap().parse::<f64>().unwrap();
    for (coding, most) in [("br", 0.05), ("gzip", 0.08)] {
        let short =
            system.call(Method::GET, &path, None, &[("accept-encoding", coding)], None).await;
        let short = short.headers["content-length"].to_str().unwrap().parse::<f64>().unwrap();
        assert!(short / length <= most, "{coding}: {}", short / length);
    }
    let known = [("if-none-match", whole.headers["etag"].to_str().unwrap())];
    let unchanged = system.call(Method::GET, &path, None, &known, None).await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);

    let mut watcher = Watcher::of(&system, show).await;
    let token = system.visitor().await;
    let order = book(&system, &token, show, "A250").await;
    pay(&system, &token, &order).await;
    watcher.sees(&[("A250", "sold")]).await;
    system.stop().await;
}
