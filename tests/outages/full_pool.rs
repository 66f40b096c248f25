//! Reads that hold every connection of their pool are load, not silence of the database: background
//! work goes on, since it has a pool of its own.

use std::time::Duration;

use contract::ShowId;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::Connection as _;
use tokio::time::Instant;

use super::{RECOVERED, eventually, open_breakers};
use crate::harness::{Plan, System, counted};

/// Several times the connections of a pool.
const READERS: usize = 64;
/// More than twice the age at which a board means that the database is away.
const HELD_UP: Duration = Duration::from_secs(8);

/// Reads from the locked table again and again; returns how often it was refused. Each reader asks
/// for something else, because readers of the same share a read.
async fn read_until(system: &System, reader: usize, end: Instant) -> usize {
    let mut refused = 0;
    while Instant::now() < end {
        let answer = system.get(&format!("/api/v1/movies?q={reader}"), None).await;
        assert_eq!(answer.code(), "DATABASE_UNAVAILABLE", "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        refused += 1;
    }
    refused
}

async fn is_ready_and_sells_until(system: &System, show: ShowId, end: Instant) -> usize {
    let mut sold = 0;
    while Instant::now() < end {
        let ready = system.get("/readyz", None).await;
        assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
        let seat = format!("A{}", sold + 1);
        let body = json!({"showId": show, "tier": "STANDARD", "seats": [seat]});
        let booked = system.book(&system.visitor().await, body).await;
        assert_eq!(booked.status, StatusCode::OK, "{booked:?}");
        sold += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sold
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_hold_every_connection_leave_the_node_ready_and_selling() {
    let system = System::start().await;
    let show = system.show(Plan { rows: 1, seats: 100, ..Plan::default() }).await;
    let mut session = system.direct().await;
    let mut locked = session.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *locked)
        .await
        .unwrap();
    sqlx::query("lock table movies in access exclusive mode").execute(&mut *locked).await.unwrap();

    let end = Instant::now() + HELD_UP;
    let reading = join_all((0..READERS).map(|reader| read_until(&system, reader, end)));
    let (refused, sold) = tokio::join!(reading, is_ready_and_sells_until(&system, show, end));
    assert!(refused.iter().sum::<usize>() >= READERS, "{refused:?}");
    assert!(sold > 5, "{sold}");
    assert!(counted("usher_database_pool_full_total") > 0, "it is counted");
    assert!(open_breakers("postgres") < 1.0, "the database is there");

    locked.rollback().await.unwrap();
    eventually("reads are answered", RECOVERED, async || {
        (system.get("/api/v1/movies", None).await.status == StatusCode::OK).then_some(())
    })
    .await;
    system.stop().await;
}
