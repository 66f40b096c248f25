//! A session whose picture of its partition is wrong: it notices, and decides again.

use std::time::Duration;

use contract::{ShowId, access::Role};
use lapin::types::FieldTable;
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::{Pool, Transaction};
use testing::{
    Slot, eventually,
    proxy::{CommitCut, Proxy},
};
use tokio::time::Instant;
use usher::up::Allocation;

use crate::{
    forge::{Forge, outcome},
    harness::{Plan, SOON, System, counted, fresh_key, times_taken},
    locks::{PROMPTLY, locks_say_what_claims_say},
    witness::Witness,
};

/// Most tries, since a cut may hit another transaction than a batch.
const TRIES_MAX: i64 = 19;
/// Longest time until cut connections are noticed and replaced.
const BLOCKED_WAIT: Duration = SOON;

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
    // A1 came free in the last version, and the row of that change is deleted.
    let lost = "delete from tier_changes where show_id = $1 and version = 2";
    let lost = sqlx::query(lost).bind(show.0).execute(&system.pool).await.unwrap();
    assert_eq!(lost.rows_affected(), 1);
    let next = system.book(&system.visitor().await, wish).await;
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

/// Another session locks an account's row and then the partition's, which Usher never does. A batch
/// that has the partition and wants the account then ends in a deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_given_up_to_end_a_deadlock_is_run_again() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: 20, ..Plan::default() }).await;
    let token = system.visitor().await;
    let (rest, path) = (system.pool.clone(), "deadlock retried");
    for bookings in 2..2 + TRIES_MAX {
        let mut tx = held_up(&system, &rest, show, &token).await;
        let partition = "select from partitions where show_id = $1 for no key update";
        // If PostgreSQL gives up this session instead of the batch, the test tries again.
        let _ = sqlx::query(partition).bind(show.0).execute(&mut *tx).await;
        tx.rollback().await.unwrap();
        are_decided(&rest, show, bookings).await;
        if times_taken(path) > 0 {
            break;
        }
    }
    assert!(times_taken(path) > 0);
    let failures = ["Again", "Reload", "Wait", "Poisoned", "Displaced"];
    let failed = failures.map(|f| counted(&format!("usher_batch_failed_total{{failure=\"{f}\"}}")));
    assert_eq!(failed, [times_taken(path), 0, 0, 0, 0], "{failures:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

/// The connection is lost after a commit and before its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_committed_without_a_word_of_it_is_found_decided() {
    let mut slot = Slot::take().await;
    let rest = slot.pool();
    let wire = Proxy::before(&mut slot.database_url).await;
    let system = System::start_at(slot, Allocation::Here).await;
    let show = system.show(Plan { per_user: 20, ..Plan::default() }).await;
    let token = system.visitor().await;
    let path = "ambiguous commit resolved";
    for bookings in 2..2 + TRIES_MAX {
        let tx = held_up(&system, &rest, show, &token).await;
        // The next commits are cut, whichever task makes them.
        wire.cut_commits(CommitCut::Delivered, 2);
        tx.rollback().await.unwrap();
        are_decided(&rest, show, bookings).await;
        wire.heal();
        locks_say_what_claims_say(&system, show, PROMPTLY).await;
        if times_taken(path) > 0 {
            break;
        }
    }
    assert!(times_taken(path) > 0);
    let audit = store::audit::audit(&rest, None, &[]).await.unwrap();
    assert!(audit.is_clean(), "{audit:?}");
    system.stop().await;
}

/// Locks the row of an account that has a seat, and sends a booking of the account, so that its
/// batch holds the partition and waits. The batch goes on when the transaction ends.
async fn held_up(system: &System, rest: &Pool, show: ShowId, token: &str) -> Transaction {
    let wish = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let rows = "select account_id from account_quotas where show_id = $1 for update";
    let mut tx = rest.begin().await.unwrap();
    if sqlx::query(rows).bind(show.0).fetch_all(&mut *tx).await.unwrap().is_empty() {
        let first = system.book(token, wish.clone()).await;
        assert_eq!(first.body["status"], "ALLOCATED", "{first:?}");
        sqlx::query(rows).bind(show.0).fetch_all(&mut *tx).await.unwrap();
    }
    let (key, path) = (fresh_key(), "/api/v1/bookings");
    let headers = [("idempotency-key", key.as_str())];
    let asked = system.call(Method::POST, path, Some(token), &headers, Some(wish)).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    // Not `pg_stat_activity`: a transaction sees its sessions as they were at the first look.
    let blocked = "select exists (select from pg_locks
                                  where not granted
                                      and pg_backend_pid() = any(pg_blocking_pids(pid)))";
    let until = Instant::now() + BLOCKED_WAIT;
    while !sqlx::query_scalar::<_, bool>(blocked).fetch_one(&mut *tx).await.unwrap() {
        assert!(Instant::now() < until, "no batch wants the account");
    }
    tx
}

async fn are_decided(rest: &Pool, show: ShowId, bookings: i64) {
    let claims = "select count(*) from seat_claims where show_id = $1";
    eventually("each booking has its seat, and one", SOON, async || {
        let claims = sqlx::query_scalar::<_, i64>(claims).bind(show.0);
        (claims.fetch_one(rest).await.unwrap() == bookings).then_some(())
    })
    .await;
}
