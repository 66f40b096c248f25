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
use testing::eventually;
use usher::up::Allocation;

use crate::harness::{Plan, System, fresh_key, program};

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
        let child = program("allocator")
            .envs(system.slot.environment())
            .env("AMQP_URL", amqp_url)
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
