//! What a session believes of its partition, against what is true: it notices, and decides again.

use std::time::Duration;

use contract::access::Role;
use lapin::types::FieldTable;
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::{PgConnection, testing::eventually};

use crate::{
    forge::{Forge, outcome},
    harness::{Plan, SOON, System, counted, fresh_key, times_taken},
    witness::Witness,
};

/// PostgreSQL looks for a deadlock once a wait has lasted a second; one may be lost to ourselves.
const DEADLOCKS_MAX: i64 = 5;
const BLOCKED_WAIT: Duration = Duration::from_millis(800);

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_misses_a_change_reads_the_seats_again() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let wish = json!({"showId": show, "tier": "STANDARD", "seats": ["A1"]});
    let booked = system.book(&token, wish.clone()).await;
    assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");

    let order = booked.body["order"]["orderId"].as_str().unwrap();
    let cancel = format!("/api/v1/orders/{order}/cancel");
    assert_eq!(system.post(&cancel, &token, json!({})).await.status, StatusCode::OK);
    // A1 came free under the last version, and now nothing tells of it.
    let lost = "delete from tier_changes where show_id = $1 and version = 2";
    let lost = sqlx::query(lost).bind(show.0).execute(&system.pool).await.unwrap();
    assert_eq!(lost.rows_affected(), 1);
    let next = system.book(&token, wish).await;
    assert_eq!(next.body["status"], "ALLOCATED", "the seat is free: {next:?}");
    assert_eq!(counted("usher_batch_failed_total{failure=\"Reload\"}"), 1);
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_comes_twice_is_decided_and_counted_once() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, _) = system.account(Role::User).await;
    let (witness, forge) = (Witness::of(&system, show).await, Forge::new(&system, show, account));
    let (twice, again, last) = (forge.any(), forge.any(), forge.any());
    let send = async |bookings| {
        witness.publish(&forge.envelope(bookings), FieldTable::default()).await;
    };
    send(vec![twice.clone(), twice.clone(), again.clone()]).await;
    assert_eq!(outcome(&system, again.booking_id).await.0, "ALLOCATED");
    send(vec![again, last.clone()]).await;
    assert_eq!(outcome(&system, last.booking_id).await.0, "ALLOCATED");
    assert_eq!(counted("usher_redelivered_total"), 2);
    assert_eq!(times_taken("redelivery deduplicated"), 1);
    let claims = sqlx::query_scalar("select count(*) from seat_claims where show_id = $1");
    let claims: i64 = claims.bind(show.0).fetch_one(&system.pool).await.unwrap();
    assert_eq!(claims, 3);
    system.stop().await;
}

/// Somebody takes an account's row first and the partition's after it, which nothing of ours does:
/// a batch that has the partition and wants the account can only be given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_given_up_to_end_a_deadlock_is_run_again() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 20, ..Plan::default() }).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    assert_eq!(system.book(&token, body.clone()).await.body["status"], "ALLOCATED");
    for bookings in 2..2 + DEADLOCKS_MAX {
        let mut tx = system.pool.begin().await.unwrap();
        let accounts = "select from account_quotas where show_id = $1 for update";
        sqlx::query(accounts).bind(show.0).execute(&mut *tx).await.unwrap();
        let headers = [("idempotency-key", &*fresh_key())];
        let path = "/api/v1/bookings";
        let asked =
            system.call(Method::POST, path, Some(&token), &headers, Some(body.clone())).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
        wait_for_a_blocked_one(&mut tx).await;
        let partition = "select from partitions where show_id = $1 for no key update";
        // Where this is the one that is given up, it was too slow, and tries again.
        let _ = sqlx::query(partition).bind(show.0).execute(&mut *tx).await;
        tx.rollback().await.unwrap();
        let claims = "select count(*) from seat_claims where show_id = $1";
        eventually("the booking is decided", SOON, async || {
            let claims = sqlx::query_scalar::<_, i64>(claims).bind(show.0);
            (claims.fetch_one(&system.pool).await.unwrap() == bookings).then_some(())
        })
        .await;
        if times_taken("deadlock retried") > 0 {
            break;
        }
    }
    assert!(times_taken("deadlock retried") > 0);
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

/// Waits until some session waits for this transaction.
async fn wait_for_a_blocked_one(tx: &mut PgConnection) {
    let until = tokio::time::Instant::now() + BLOCKED_WAIT;
    let blocked = "select exists (select from pg_stat_activity
                                  where pg_backend_pid() = any(pg_blocking_pids(pid)))";
    while tokio::time::Instant::now() < until {
        if sqlx::query_scalar::<_, bool>(blocked).fetch_one(&mut *tx).await.unwrap() {
            return;
        }
    }
}
