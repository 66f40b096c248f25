//! One caller who sends too many requests.

use std::time::{Duration, Instant};

use contract::api::catalogue::RoomMode;
use futures_util::{StreamExt as _, future::join_all, stream};
use reqwest::Method;
use serde_json::json;
use testing::eventually;

use super::counted;
use crate::{
    bad_input::Refusal,
    beside::Beside,
    harness::{Plan, SOON, System},
    keys::COUNTED,
};

/// Requests sent at once; the limit is 20 per second with a burst of 60.
const REQUESTS: usize = 300;
const PER_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 60.0;
/// Longest time of another caller's request, which must not wait behind the flood.
const UNHURRIED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bookings_of_one_account_is_limited_and_others_book_on() {
    let system = System::start().await;
    let beside = Beside::of(&system.slot);
    let show = system.show(Plan::default()).await;
    let (flooder, other) = (system.visitor().await, system.visitor().await);
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let submit = async |token: &str| {
        let path = "/api/v1/bookings";
        system.call(Method::POST, path, Some(token), &[], Some(body.clone())).await
    };
    let began = Instant::now();
    let flood = join_all((0..REQUESTS).map(|_| submit(&flooder)));
    let meanwhile = async {
        let (answer, took) = beside.timed(submit(&other)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(took < UNHURRIED, "others wait for {took:?}");
    };
    let (answers, ()) = tokio::join!(flood, meanwhile);
    let allowed = AT_ONCE + PER_SECOND * began.elapsed().as_secs_f64();
    let (accepted, limited): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 202);
    let n_accepted = f64::from(u32::try_from(accepted.len()).unwrap());
    assert!((AT_ONCE..=allowed.ceil()).contains(&n_accepted), "{n_accepted} were accepted");
    assert!(!limited.is_empty());
    for refusal in limited.into_iter().map(Refusal::of) {
        assert_eq!((refusal.status, refusal.code()), (429, "RATE_LIMITED"));
        let header = |name: &str| refusal.headers[name].to_str().unwrap().to_owned();
        let wait: u64 = header("retry-after").parse().unwrap();
        assert!((1..=15).contains(&wait), "{wait}");
        assert_eq!(header("ratelimit"), format!("\"bookings\";r=0;t={wait}"));
        assert_eq!(header("ratelimit-policy"), "\"bookings\";q=60;w=3");
    }
    assert!(counted("usher_rate_limited_total") > 0.0);
    eventually("the flooder may book again", SOON, async || {
        (submit(&flooder).await.status == 202).then_some(())
    })
    .await;
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

/// Requests that are refused, each with a key of its own, and how many are sent at the same time.
const KEYED: usize = 2_000;
const KEYED_AT_ONCE: usize = 50;

/// Scans of the table `bookings` so far. Connections report theirs when they end.
async fn looks_at_bookings(pool: &store::Pool) -> i64 {
    let looks = "select (coalesce(idx_scan, 0) + seq_scan)::bigint from pg_stat_user_tables
                 where relname = 'bookings'";
    sqlx::query_scalar(looks).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_one_account_with_fresh_keys_do_not_reach_the_database() {
    let system = System::start().await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let token = system.visitor().await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    // Redis is new, so for some seconds it does not prove that a key is new.
    eventually("a refusal is certain", COUNTED, async || {
        let (other, headers) = (system.visitor().await, [("idempotency-key", "first")]);
        let path = "/api/v1/bookings";
        let body = Some(body.clone());
        let answer = system.call(Method::POST, path, Some(&other), &headers, body).await;
        (answer.code() == "PASS_REQUIRED").then_some(())
    })
    .await;
    let before = looks_at_bookings(&system.pool).await;
    let began = Instant::now();
    let statuses = stream::iter(0..KEYED)
        .map(async |n| {
            let key = format!("k{n}");
            let headers = [("idempotency-key", key.as_str())];
            let path = "/api/v1/bookings";
            system.call(Method::POST, path, Some(&token), &headers, Some(body.clone())).await
        })
        .buffer_unordered(KEYED_AT_ONCE)
        .map(|answer| (answer.status.as_u16(), answer.code().to_owned()))
        .collect::<Vec<_>>()
        .await;
    let took = began.elapsed();
    let n = |wanted: (u16, &str)| {
        statuses.iter().filter(|(status, code)| (*status, code.as_str()) == wanted).count()
    };
    let (looked_at, limited) = (n((403, "PASS_REQUIRED")), n((429, "RATE_LIMITED")));
    let others = statuses.iter().find(|(status, _)| ![403, 429].contains(status));
    assert_eq!(looked_at + limited, KEYED, "{others:?}");
    let allowed = AT_ONCE + PER_SECOND * took.as_secs_f64();
    let looked_at = f64::from(u32::try_from(looked_at).unwrap());
    assert!(looked_at <= allowed.ceil(), "{looked_at} of {KEYED} were looked at in {took:?}");
    let slot = system.slot.clone();
    system.stop().await;
    let looks = u32::try_from(looks_at_bookings(&slot.pool()).await - before).unwrap();
    // One scan for each question; the rest is room for the allocator's own.
    let most = 2.0 * allowed + PER_SECOND * took.as_secs_f64();
    eprintln!("{looks} looks at the bookings, {looked_at} of {KEYED} requests, {took:?}");
    assert!(f64::from(looks) <= most, "PostgreSQL looked {looks} times in {took:?}");
}
