//! Tests that kill processes or measure times; each runs alone on the machine.

mod line;

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use contract::BookingId;
use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::Executor as _;
use testing::eventually;
use tokio::time::{Instant, sleep};
use usher::up::Allocation;

use crate::harness::{Plan, SOON, System, fresh_key, program};

/// Longest takeover: the new allocator must notice that the old one is dead, and the broker that
/// the consumer is gone.
const TAKEOVER: Duration = Duration::from_mins(1);

/// An allocator as a process of its own, killed when dropped.
pub(crate) struct Allocator(Child);

impl Allocator {
    fn start(system: &System) -> Self {
        Self::start_with_broker_at(system, &system.slot.amqp_url)
    }

    pub(crate) fn start_with_broker_at(system: &System, amqp_url: &str) -> Self {
        Self::start_in(system, &[("AMQP_URL", amqp_url)])
    }

    fn start_in(system: &System, environment: &[(&str, &str)]) -> Self {
        let child = program("allocator")
            .envs(system.slot.environment())
            .envs(environment.iter().copied())
            .env("USHER_ALLOCATOR_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::null())
            .spawn()
            .expect("the allocator starts");
        Self(child)
    }

    /// Sends SIGKILL, so that nothing is finished or acked.
    fn kill(mut self) {
        self.0.kill().expect("it was running");
        self.0.wait().expect("it was ours");
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocator_killed_in_the_middle_of_a_sale_loses_and_repeats_nothing() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let mut allocator = Some(Allocator::start(&system));
    let show = system.show(Plan { rows: 26, seats: 60, per_user: 20, ..Plan::default() }).await;
    let mut tokens = Vec::new();
    for _ in 0..200 {
        tokens.push(system.visitor().await);
    }
    let mut accepted: Vec<BookingId> = Vec::new();
    // Five waves of requests for fewer seats than there are, so that none is refused as sold out.
    // In the second and the fourth the allocator is killed and a new one started.
    for wave in 0..5 {
        let submits = stream::iter(0..400_usize).map(|n| {
            let (system, token) = (&system, &tokens[n % tokens.len()]);
            let body = match n % 3 {
                0 => json!({"showId": show, "tier": "STANDARD", "seats": [format!("C{}", n % 20 + 1)]}),
                _ => json!({"showId": show, "tier": "STANDARD", "quantity": 1}),
            };
            async move {
                let key = fresh_key();
                let headers = [("idempotency-key", key.as_str())];
                system.call(Method::POST, "/api/v1/bookings", Some(token), &headers, Some(body)).await
            }
        });
        let mut submits = submits.buffer_unordered(32);
        let mut answered = 0;
        while let Some(answer) = submits.next().await {
            answered += 1;
            if answer.status == StatusCode::ACCEPTED {
                accepted.push(answer.body["bookingId"].as_str().unwrap().parse().unwrap());
            } else {
                assert!(matches!(answer.code(), "SOLD_OUT" | "ALL_HELD"), "{answer:?}");
            }
            if answered == 200 && wave % 2 == 1 {
                allocator.take().expect("one runs").kill();
            }
        }
        if allocator.is_none() {
            allocator = Some(Allocator::start(&system));
            eventually("the new one has decided what the dead one left", TAKEOVER, async || {
                let audit = system.audit(&accepted).await;
                (audit.accepted_without_outcome == 0).then_some(())
            })
            .await;
        }
    }
    assert!(accepted.len() > 400, "only {} were accepted", accepted.len());
    eventually("every accepted booking has an outcome", TAKEOVER, async || {
        let audit = system.audit(&accepted).await;
        (audit.accepted_without_outcome == 0 && audit.events_stuck == 0).then_some(())
    })
    .await;
    let audit = system.audit(&accepted).await;
    assert!(audit.is_clean(), "{audit:?}");
    let epochs: i64 = sqlx::query_scalar("select epoch from partitions where show_id = $1")
        .bind(show.0)
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert!(epochs >= 3, "two kills make three sessions at least, not {epochs}");
    drop(allocator);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_allocators_share_the_partitions_and_one_takes_over_from_the_other() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let (first, _second) = (Allocator::start(&system), Allocator::start(&system));
    let mut shows = Vec::new();
    for _ in 0..6 {
        shows.push(system.show(Plan { rows: 1, ..Plan::default() }).await);
    }
    let token = system.visitor().await;
    let book = async |show| {
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        eventually("the booking is allocated", TAKEOVER, async || {
            let answer = system.book(&token, body.clone()).await;
            (answer.body["status"] == "ALLOCATED").then_some(())
        })
        .await;
    };
    for show in &shows {
        book(*show).await;
    }
    first.kill();
    for show in &shows {
        book(*show).await;
    }
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocator_that_cannot_reach_the_broker_leaves_its_partitions_to_others() {
    let system = System::start().await;
    // This allocator has no broker, but Postgres and Redis.
    let _cut_off = Allocator::start_with_broker_at(&system, "amqp://127.0.0.1:1/%2f");
    let token = system.visitor().await;
    // If it got a share of the partitions, half of these sales would never open.
    for _ in 0..8 {
        let show = system.show(Plan { rows: 1, ..Plan::default() }).await;
        let booked =
            system.book(&token, json!({"showId": show, "tier": "STANDARD", "quantity": 1})).await;
        assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    }
    system.stop().await;
}

/// Somebody keeps the rows of twice as many partitions as the allocator has connections.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_rows_are_locked_take_no_connection_that_others_need() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let _allocator = Allocator::start_in(&system, &[("USHER_DATABASE_CONNECTIONS_MAX", "4")]);
    let token = system.visitor().await;
    let (mut locked, free) =
        (Vec::new(), system.show(Plan { per_user: 20, ..Plan::default() }).await);
    for _ in 0..8 {
        locked.push(system.show(Plan::default()).await.0);
    }
    let wish = |show| json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let mut direct = system.direct().await;
    direct.execute("set idle_in_transaction_session_timeout = 0; begin").await.unwrap();
    let lock = "select from partitions where show_id = any($1) for update";
    sqlx::query(lock).bind(&locked).execute(&mut direct).await.unwrap();
    for show in &locked {
        let accepted = system.post("/api/v1/bookings", &token, wish(*show)).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED);
    }
    // By then each has waited once, for a connection and for its lock.
    sleep(Duration::from_secs(10)).await;
    for _ in 0..5 {
        let began = Instant::now();
        let booked = system.post("/api/v1/bookings", &token, wish(free.0)).await;
        let path = format!("/api/v1/bookings/{}", booked.body["bookingId"].as_str().unwrap());
        eventually("a booking of a show with free rows is decided", SOON, async || {
            let seen = system.get(&path, Some(&token)).await;
            (seen.body["status"] == "ALLOCATED").then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let age = "select extract(epoch from clock_timestamp() - max(heartbeat_at))::float8
                   from allocators";
        let age: f64 = sqlx::query_scalar(age).fetch_one(&system.pool).await.unwrap();
        assert!(age < 3.0, "the last heartbeat was {age} s ago");
    }
    direct.execute("commit").await.unwrap();
    system.stop().await;
}
