//! Requests that wait for an outcome: events wake them, and they do not load the database
//! meanwhile.

use std::time::Duration;

use contract::ShowId;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgConnection;
use testing::{
    Slot, eventually,
    proxy::{Mode, Proxy},
};
use tokio::time::Instant;
use usher::up::Allocation;

use crate::{
    alone::Allocator,
    harness::{Answer, Plan, SOON, System, counted},
    journey::{frame_where, socket},
};

const WAITERS: usize = 200;
/// How long nothing is decided.
const UNDECIDED: Duration = Duration::from_secs(5);

/// How long the requests wait at most.
const WAIT: Duration = Duration::from_secs(30);

/// Locks the show's partitions, so that no batch is decided until the transaction ends.
async fn hold_up(database: &mut PgConnection, show: ShowId) {
    for statement in ["set idle_in_transaction_session_timeout = 0", "begin"] {
        sqlx::query(statement).execute(&mut *database).await.unwrap();
    }
    let lock = "select 1 from partitions where show_id = $1 for update";
    sqlx::query(lock).bind(show.0).execute(&mut *database).await.unwrap();
}

async fn let_go(database: &mut PgConnection) {
    sqlx::query("rollback").execute(database).await.unwrap();
}

/// Searches for bookings by id so far.
async fn searches(system: &System) -> i64 {
    let searches = "select idx_scan from pg_stat_user_indexes where indexrelname = 'bookings_pkey'";
    sqlx::query_scalar(searches).fetch_one(&system.pool).await.unwrap()
}

/// Sends all bookings, each of which waits up to half a minute for its outcome.
async fn wait_all(system: &System, show: ShowId) -> Vec<Answer> {
    let mut tokens = Vec::new();
    for _ in 0..WAITERS / 10 {
        tokens.push(system.visitor().await);
    }
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let waiting = (0..WAITERS).map(|n| {
        let (token, headers) = (Some(tokens[n % tokens.len()].as_str()), [("prefer", "wait=30")]);
        let body = Some(body.clone());
        async move { system.call(Method::POST, "/api/v1/bookings", token, &headers, body).await }
    });
    join_all(waiting).await
}

async fn are_accepted(show: ShowId, n: usize) {
    let name = format!("usher_accepted_total{{show=\"{show}\",tier=\"STANDARD\"}}");
    eventually("all are accepted", SOON * 3, async || (counted(&name) == n as u64).then_some(()))
        .await;
}

fn are_decided(answers: &[Answer]) {
    for answer in answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["status"], "ALLOCATED", "{answer:?}");
    }
}

fn hall() -> Plan {
    Plan { rows: 10, seats: 30, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_who_wait_ask_the_database_nothing_until_they_are_woken() {
    let system = System::start().await;
    let show = system.show(hall()).await;
    let mut database = system.direct().await;
    hold_up(&mut database, show).await;
    let watching = async {
        are_accepted(show, WAITERS).await;
        // The first look of each request is counted by now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = searches(&system).await;
        tokio::time::sleep(UNDECIDED).await;
        let asked = searches(&system).await - before;
        let_go(&mut database).await;
        asked
    };
    let (answers, asked) = tokio::join!(wait_all(&system, show), watching);
    are_decided(&answers);
    assert!(asked < 20, "{WAITERS} waiters searched {asked} times in {UNDECIDED:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_learn_what_was_decided_while_their_node_could_not_hear_of_it() {
    let mut slot = Slot::take().await;
    let broker = slot.amqp_url.clone();
    let proxy = Proxy::before(&mut slot.amqp_url).await;
    let system = System::start_at(slot, Allocation::Elsewhere).await;
    let _allocator = Allocator::start_with_broker_at(&system, &broker);
    let show = system.show(hall()).await;
    let mut database = system.direct().await;
    hold_up(&mut database, show).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let queued = system.post("/api/v1/bookings", &token, body).await;
    let path = format!("/api/v1/bookings/{}/live", queued.body["bookingId"].as_str().unwrap());
    let mut live = socket(&system, &path, &format!("usher.v1, bearer.{token}")).await;
    frame_where(&mut live, |frame| frame["status"] == "QUEUED").await;
    let cutting = async {
        are_accepted(show, WAITERS + 1).await;
        // Events still reach the broker, but none comes back.
        proxy.set(Mode::Stall);
        proxy.reset();
        let_go(&mut database).await;
        Instant::now()
    };
    let (answers, deaf_since) = tokio::join!(wait_all(&system, show), cutting);
    are_decided(&answers);
    assert!(deaf_since.elapsed() < WAIT / 2, "they looked, and not only at the end");
    frame_where(&mut live, |frame| frame["status"] == "ALLOCATED").await;
    proxy.set(Mode::Pass);
    system.stop().await;
}
