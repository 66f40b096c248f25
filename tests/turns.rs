//! Slots and times: no visitor is admitted to a slot in which another may still book, and a sale
//! begins and ends at its times.

use chrono::{DateTime, TimeDelta, Utc};
use contract::{ShowId, access::Role, api::catalogue::RoomMode};
use platform::clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::eventually;

use crate::{
    harness::{Answer, Plan, SOON, System},
    journey::{LiveSocket, frame_in, socket},
};

/// A visitor in the line of a show.
struct InLine {
    token: String,
    place: String,
    frames: LiveSocket,
}

/// What an admitted visitor gets.
struct LetIn {
    pass: String,
    expires_at: DateTime<Utc>,
}

impl InLine {
    async fn join(system: &System, show: ShowId) -> Self {
        let token = system.visitor().await;
        let joined = system.post(&format!("/api/v1/shows/{show}/queue"), &token, json!({})).await;
        assert_eq!(joined.status, StatusCode::CREATED, "{joined:?}");
        let text = |field: &str| joined.body[field].as_str().unwrap().to_owned();
        let place = format!("/api/v1/shows/{show}/queue/{}", text("ticketId"));
        let protocols = format!("usher.v1, place-ticket.{}", text("placeTicket"));
        let frames = socket(system, &format!("{place}/live"), &protocols).await;
        Self { token, place, frames }
    }

    /// Waits to be admitted, and closes the socket, so that the pass is not renewed.
    async fn is_let_in(&mut self) -> LetIn {
        let admitted = |frame: &Value| frame["type"] == "admitted";
        let frame = frame_in(&mut self.frames, SOON * 3, admitted).await;
        self.frames = Box::pin(futures_util::stream::empty());
        LetIn {
            pass: frame["pass"].as_str().unwrap().to_owned(),
            expires_at: frame["expiresAt"].as_str().unwrap().parse().unwrap(),
        }
    }

    async fn state(&self, system: &System) -> Value {
        system.get(&self.place, Some(&self.token)).await.body
    }

    /// Books a seat without waiting for the outcome.
    async fn asks(&self, system: &System, show: ShowId, pass: &str) -> Answer {
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        let headers = [("admission-pass", pass)];
        let path = "/api/v1/bookings";
        system.call(Method::POST, path, Some(&self.token), &headers, Some(body)).await
    }

    /// Waits until a booking is decided; returns its status.
    async fn outcome(&self, system: &System, asked: &Answer) -> Value {
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
        let path = format!("/api/v1/bookings/{}", asked.body["bookingId"].as_str().unwrap());
        eventually("it is decided", SOON * 3, async || {
            let seen = system.get(&path, Some(&self.token)).await;
            (seen.body["status"] != "QUEUED").then(|| seen.body["status"].clone())
        })
        .await
    }
}

/// A show whose line admits one visitor at a time, with passes of ten seconds.
async fn one_at_a_time() -> (System, ShowId) {
    let system = System::start_with_arguments(&["--pass-seconds=10"]).await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let (_, admin) = system.account(Role::Admin).await;
    let path = format!("/api/v1/shows/{show}/waiting-room");
    let body = Some(json!({"maxActive": 1}));
    let capped = system.call(Method::PATCH, &path, Some(&admin), &[], body).await;
    assert_eq!(capped.status, StatusCode::OK, "{capped:?}");
    (system, show)
}

/// Whether the last booking was decided before the last visitor was admitted.
async fn bought_before_the_next(system: &System, show: ShowId) -> bool {
    sqlx::query_scalar(
        "select coalesce(max(decided_at) <= max(admitted_at), false)
         from admissions left join bookings using (show_id, ticket_id)
         where show_id = $1",
    )
    .bind(show.0)
    .fetch_one(&system.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_cap_of_one_the_next_is_let_in_when_the_last_can_book_nothing_any_more() {
    let (system, show) = one_at_a_time().await;
    let mut idle = InLine::join(&system, show).await;
    let old = idle.is_let_in().await;
    let next = InLine::join(&system, show).await;
    let pass = eventually("the next is let in", SOON * 5, async || {
        let place = next.state(&system).await;
        place["pass"].as_str().map(ToOwned::to_owned)
    })
    .await;
    // The leeway between clocks is over, too, so a booking with the first pass is refused.
    let late = idle.asks(&system, show, &old.pass).await;
    assert_eq!((late.status.as_u16(), late.code()), (403, "PASS_INVALID"), "{late:?}");
    let asked = next.asks(&system, show, &pass).await;
    assert_eq!(next.outcome(&system, &asked).await, "ALLOCATED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_cap_of_one_the_next_is_let_in_when_what_the_last_asked_for_is_decided() {
    let (system, show) = one_at_a_time().await;
    let mut last = InLine::join(&system, show).await;
    let LetIn { pass, expires_at } = last.is_let_in().await;
    let next = InLine::join(&system, show).await;
    // The batch waits for this row for longer than the leeway and a confirm take.
    let mut held = system.direct().await;
    for statement in ["set idle_in_transaction_session_timeout = 0", "begin"] {
        sqlx::query(statement).execute(&mut held).await.unwrap();
    }
    let until = |time: DateTime<Utc>| async move {
        eventually("the time comes", SOON * 3, async || (clock::now() >= time).then_some(())).await;
    };
    until(expires_at - TimeDelta::seconds(2)).await;
    let row = "select from partitions where show_id = $1 for no key update";
    sqlx::query(row).bind(show.0).execute(&mut held).await.unwrap();
    let asked = last.asks(&system, show, &pass).await;
    until(expires_at + TimeDelta::seconds(10)).await;
    assert_eq!(next.state(&system).await["state"], "WAITING", "the last one may still get a seat");
    sqlx::query("rollback").execute(&mut held).await.unwrap();
    assert_eq!(last.outcome(&system, &asked).await, "ALLOCATED");
    eventually("the next is let in", SOON * 5, async || {
        (next.state(&system).await["state"] == "ADMITTED").then_some(())
    })
    .await;
    assert!(bought_before_the_next(&system, show).await);
    system.stop().await;
}

/// Whether a condition on the show's row is true, by PostgreSQL's clock.
async fn is_true(system: &System, show: ShowId, what: &str) -> bool {
    let query = sqlx::AssertSqlSafe(format!("select {what} from shows where show_id = $1"));
    sqlx::query_scalar(query).bind(show.0).fetch_one(&system.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_opens_and_closes_by_itself_at_its_times() {
    let system = System::start().await;
    let plan = Plan { room: RoomMode::Fifo, sale: (8, 30), ..Plan::default() };
    let show = system.scheduled_show(plan).await;
    let (_, admin) = system.account(Role::Admin).await;
    let status = async || {
        let seen = system.get(&format!("/api/v1/shows/{show}"), None).await;
        seen.body["status"].as_str().unwrap().to_owned()
    };
    // `open` is not called. Before the time the line can be joined, and nothing is sold.
    let mut early = InLine::join(&system, show).await;
    let refused = early.asks(&system, show, "none").await;
    assert_eq!(refused.code(), "SALE_NOT_OPEN", "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert!(is_true(&system, show, "sale_opens_at > clock_timestamp()").await, "too slow to tell");

    let LetIn { pass, .. } = early.is_let_in().await;
    let after = "(select min(admitted_at) >= sale_opens_at from admissions a
                  where a.show_id = shows.show_id)";
    assert!(is_true(&system, show, after).await, "nobody is let in before the time");
    assert_eq!(status().await, "ON_SALE");
    let asked = early.asks(&system, show, &pass).await;
    assert_eq!(early.outcome(&system, &asked).await, "ALLOCATED");
    let early_bird = "(select min(decided_at) >= sale_opens_at from bookings b
                       where b.show_id = shows.show_id)";
    assert!(is_true(&system, show, early_bird).await);

    // A visitor waits until the end.
    let path = format!("/api/v1/shows/{show}/waiting-room");
    let paused = Some(json!({"paused": true}));
    let paused = system.call(Method::PATCH, &path, Some(&admin), &[], paused).await;
    assert_eq!(paused.status, StatusCode::OK, "{paused:?}");
    let mut late = InLine::join(&system, show).await;
    frame_in(&mut late.frames, SOON * 5, |frame| frame["type"] == "closed").await;
    assert!(is_true(&system, show, "sale_closes_at <= clock_timestamp()").await, "not before");
    let refused = early.asks(&system, show, &pass).await;
    assert_eq!(refused.code(), "SALE_CLOSED", "{refused:?}");
    assert_eq!(status().await, "CLOSED");
    let joined = system.post(&format!("/api/v1/shows/{show}/queue"), &admin, json!({})).await;
    assert_eq!(joined.code(), "SALE_CLOSED", "{joined:?}");
    eventually("its queues go", SOON * 5, async || {
        let gone = "not exists (select from partitions p
                                where p.show_id = shows.show_id and queue_ready_at is not null)";
        is_true(&system, show, gone).await.then_some(())
    })
    .await;
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_whose_time_was_past_when_it_was_entered_waits_for_the_call() {
    let system = System::start().await;
    let show = system.scheduled_show(Plan::default()).await;
    // A second show, entered later: once it is open, the first one had its turn, too.
    let other = system.scheduled_show(Plan { sale: (1, 3600), ..Plan::default() }).await;
    let status = async |show: ShowId| {
        let seen = system.get(&format!("/api/v1/shows/{show}"), None).await;
        seen.body["status"].as_str().unwrap().to_owned()
    };
    eventually("the other one opens", SOON, async || {
        (status(other).await == "ON_SALE").then_some(())
    })
    .await;
    assert_eq!(status(show).await, "SCHEDULED");
    system.stop().await;
}
