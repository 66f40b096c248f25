//! One caller who asks for more than a caller's share.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use store::testing::eventually;

use super::counted;
use crate::{
    bad_input::Refusal,
    beside::Beside,
    harness::{Plan, SOON, System},
};

/// Requests in one go; the limit is 20 a second, and three times as many at once.
const REQUESTS: usize = 300;
const PER_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 60.0;
/// A request that does not have to queue behind others.
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
