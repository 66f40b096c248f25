//! Sign-ins of owners, guesses at passwords, and customers behind one address.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future::join_all, stream};
use reqwest::Method;
use serde_json::json;
use testing::Answer;

use crate::running::{Ingress, NO_REDIS};

const PASSWORD: &str = "correct horse";
/// Wrong passwords for one account that are answered in a quarter of an hour.
const FAILURES: usize = 10;

async fn ingress(more: &[&str]) -> Ingress {
    let behind_a_proxy = ["--trusted-proxies", "127.0.0.1"];
    Ingress::start_with(&[&behind_a_proxy[..], more].concat()).await
}

async fn sign_in(ingress: &Ingress, email: &str, password: &str, from: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    let call = ingress.call(Method::POST, "/auth/login").json(&body);
    Answer::to(call.header("x-forwarded-for", from)).await
}

async fn sign_up(ingress: &Ingress, email: &str, from: &str) {
    let body = json!({"name": "Ann", "email": email, "password": PASSWORD});
    let call = ingress.call(Method::POST, "/auth/signup").json(&body);
    let made = Answer::to(call.header("x-forwarded-for", from)).await;
    assert_eq!(made.status, 201, "{made:?}");
}

/// Makes `n` accounts with the password hash of the first.
async fn accounts_like(ingress: &Ingress, email: &str, n: usize) -> Vec<String> {
    let emails: Vec<String> = (0..n).map(|n| format!("customer{n}@example.org")).collect();
    sqlx::query(
        "insert into accounts (account_id, name, email, password_hash)
         select gen_random_uuid(), 'Customer', email, password_hash
         from unnest($1) as email, (select password_hash from accounts where email = $2) as known",
    )
    .bind(&emails)
    .bind(email)
    .execute(&ingress.pool)
    .await
    .unwrap();
    emails
}

fn limited_by(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["limit"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn three_hundred_customers_of_a_carrier_sign_in_from_one_address() {
    let ingress = ingress(&[]).await;
    sign_up(&ingress, "ann@example.org", "198.51.100.1").await;
    let customers = accounts_like(&ingress, "ann@example.org", 300).await;
    let answers = stream::iter(&customers)
        .map(|email| sign_in(&ingress, email, PASSWORD, "192.0.2.1"))
        .buffer_unordered(8)
        .collect::<Vec<_>>()
        .await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.is_empty(), "{} of 300, such as {:?}", refused.len(), refused[0]);
    // A customer who mistypes is told so, and gets in with the next try.
    let mistyped = sign_in(&ingress, &customers[0], "correct hose", "192.0.2.1").await;
    assert_eq!(mistyped.problem(), (401, "BAD_CREDENTIALS"));
    assert_eq!(sign_in(&ingress, &customers[0], PASSWORD, "192.0.2.1").await.status, 200);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_who_sign_in_at_once_from_one_address_do_not_count_as_each_others_failures() {
    let ingress = ingress(&["--password-hashes-max", "8"]).await;
    sign_up(&ingress, "ann@example.org", "198.51.100.1").await;
    let mut outside = accounts_like(&ingress, "ann@example.org", 300).await;
    for _ in 0..10 {
        let tries = outside.iter().map(|email| sign_in(&ingress, email, PASSWORD, "192.0.2.1"));
        let answers = join_all(tries).await;
        for refused in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(refused.problem().0, 503, "nobody has failed: {refused:?}");
            assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        }
        let mut is_in = answers.iter().map(|answer| answer.status == 200);
        outside.retain(|_| !is_in.next().unwrap());
    }
    assert!(outside.is_empty(), "{} came back nine times for nothing", outside.len());
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_on_their_way_at_once_are_no_more_than_may_fail() {
    let ingress = ingress(&["--auth-per-minute", "2", "--password-hashes-max", "8"]).await;
    let guesses: Vec<String> = (0..100).map(|n| format!("nobody{n}@example.org")).collect();
    let guesses = guesses.iter().map(|email| sign_in(&ingress, email, "password1", "192.0.2.1"));
    let guesses = join_all(guesses).await;
    let answered = guesses.iter().filter(|guess| guess.status == 401).count();
    // Four minutes' worth at once, and two a minute: this took less than one.
    assert!((8..=10).contains(&answered), "{answered} guesses were answered");
    for refused in guesses.iter().filter(|guess| guess.status != 401) {
        assert_eq!(limited_by(refused), (429, "failed-sign-ins"));
    }
    ingress.stop().await;
}

#[tokio::test]
async fn guesses_from_many_addresses_are_stopped_and_the_owner_gets_in_from_the_usual_network() {
    let ingress = ingress(&[]).await;
    let email = "ann@example.org";
    sign_up(&ingress, email, "198.51.100.7").await;
    let guesses: Vec<String> = (0..100).map(|n| format!("203.0.{n}.1")).collect();
    let guesses = guesses.iter().map(|from| sign_in(&ingress, email, "a guess of many", from));
    let guesses = join_all(guesses).await;
    let answered = guesses.iter().filter(|guess| guess.status == 401).count();
    assert_eq!(answered, FAILURES);
    for refused in guesses.iter().filter(|guess| guess.status != 401) {
        assert_eq!(refused.problem(), (429, "RATE_LIMITED"));
        assert_eq!(limited_by(refused), (429, "failed-sign-ins"));
        let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((85..=100).contains(&wait), "one more in 90 s: {wait}");
    }
    // Now even the right password is refused, so that a guesser learns nothing.
    let right = sign_in(&ingress, email, PASSWORD, "203.0.113.1").await;
    assert_eq!(limited_by(&right), (429, "failed-sign-ins"));
    // The provider has given the owner another address.
    for _ in 0..3 {
        assert_eq!(sign_in(&ingress, email, PASSWORD, "198.51.100.99").await.status, 200);
    }
    // A guesser in that network has ten guesses and no more.
    for _ in 0..FAILURES {
        let guess = sign_in(&ingress, email, "a guess of many", "198.51.100.4").await;
        assert_eq!(guess.problem(), (401, "BAD_CREDENTIALS"));
    }
    let guess = sign_in(&ingress, email, "a guess of many", "198.51.100.4").await;
    assert_eq!(guess.status, 429);
    ingress.stop().await;
}

#[tokio::test]
async fn an_address_that_guesses_at_many_accounts_is_stopped_and_its_customers_get_in() {
    let ingress = ingress(&["--auth-per-minute", "2"]).await;
    let (email, address) = ("ann@example.org", "192.0.2.1");
    sign_up(&ingress, email, address).await;
    let others = accounts_like(&ingress, email, 20).await;
    let mut answered = 0;
    for other in &others {
        let guess = sign_in(&ingress, other, "password1", address).await;
        match limited_by(&guess) {
            (401, _) => answered += 1,
            refused => assert_eq!(refused, (429, "failed-sign-ins")),
        }
    }
    // Four minutes' worth at once, and two a minute: this took less than one.
    assert!((8..=10).contains(&answered), "{answered} guesses were answered");
    let newcomer = sign_in(&ingress, &others[19], PASSWORD, address).await;
    assert_eq!(newcomer.status, 429, "was never here");
    assert_eq!(sign_in(&ingress, email, PASSWORD, address).await.status, 200, "was here before");
    assert_eq!(sign_in(&ingress, &others[19], PASSWORD, "192.0.9.1").await.status, 200);
    ingress.stop().await;
}

#[tokio::test]
async fn whether_there_is_an_account_cannot_be_told_from_limits_and_times() {
    let ingress = ingress(&[]).await;
    sign_up(&ingress, "ann@example.org", "198.51.100.7").await;
    let mut told = [(); 3].map(|()| (Vec::new(), Vec::new()));
    // In turn, so that other work on the machine slows all of them alike.
    for n in 0..=FAILURES {
        let emails = ["ann@example.org", "nobody@example.org", "no address\0"];
        for (email, (answers, times)) in emails.into_iter().zip(&mut told) {
            let began = Instant::now();
            let answer = sign_in(&ingress, email, "a guess", &format!("203.0.{n}.1")).await;
            times.push(began.elapsed());
            answers.push((answer.status.as_u16(), answer.body["code"].to_string()));
        }
    }
    let told = told.map(|(answers, mut times)| {
        times.truncate(FAILURES);
        times.sort_unstable();
        (answers, times[FAILURES / 2])
    });
    let (known, took) = &told[0];
    assert_eq!(known.last().unwrap().0, 429);
    assert!(*took > Duration::from_millis(2), "a hash takes time: {took:?}");
    for (unknown, as_long) in &told[1..] {
        assert_eq!(known, unknown);
        // A hash takes twenty times as long as all the rest.
        let ratio = as_long.as_secs_f64() / took.as_secs_f64();
        assert!((0.25..4.0).contains(&ratio), "{took:?} and {as_long:?}");
    }
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_wait_for_their_turn_to_be_hashed_are_sent_away_at_once() {
    let ingress = ingress(&["--password-hashes-max", "1"]).await;
    let email = |n: usize| format!("nobody{n}@example.org");
    let tries = (0..160).map(async |n: usize| {
        let from = format!("203.0.{n}.1");
        sign_in(&ingress, &email(n), "whatever it is", &from).await
    });
    let answers = join_all(tries).await;
    let is_busy = |answer: &Answer| answer.status == 503;
    let sent_away = answers.iter().position(is_busy).expect("a hundred and one have a place");
    for answer in answers.iter().filter(|answer| is_busy(answer)) {
        assert_eq!(answer.problem(), (503, "SIGN_IN_BUSY"));
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((5..=8).contains(&wait), "{wait}");
    }
    // A refused try does not count as failed.
    for _ in 0..FAILURES {
        let again = sign_in(&ingress, &email(sent_away), "whatever", "203.0.113.1").await;
        assert_eq!(again.problem(), (401, "BAD_CREDENTIALS"));
    }
    ingress.stop().await;
}

#[tokio::test]
async fn whoever_has_a_token_cannot_guess_the_password_with_it() {
    let ingress = ingress(&[]).await;
    let body = json!({"name": "Ann", "email": "ann@example.org", "password": PASSWORD});
    let made = ingress.send(Method::POST, "/auth/signup", None, &body).await;
    let token = made.id("accessToken");
    let change = async |password: &str, from: &str| {
        let body = json!({"password": password, "newPassword": "battery staple"});
        let call = ingress.call(Method::PUT, "/auth/password").bearer_auth(&token).json(&body);
        Answer::to(call.header("x-forwarded-for", from)).await
    };
    for _ in 0..FAILURES {
        let guess = change("a guess", "203.0.113.1").await;
        assert_eq!(guess.problem(), (401, "BAD_CREDENTIALS"));
    }
    let guess = change(PASSWORD, "203.0.113.2").await;
    assert_eq!(limited_by(&guess), (429, "failed-sign-ins"));
    ingress.stop().await;
}

#[tokio::test]
async fn without_redis_people_sign_in_and_guesses_are_stopped_all_the_same() {
    let ingress = Ingress::start_with_redis(NO_REDIS).await;
    sign_up(&ingress, "ann@example.org", "198.51.100.7").await;
    assert_eq!(sign_in(&ingress, "ann@example.org", PASSWORD, "198.51.100.7").await.status, 200);
    for _ in 0..FAILURES {
        let guess = sign_in(&ingress, "ann@example.org", "a guess", "203.0.113.1").await;
        assert_eq!(guess.problem(), (401, "BAD_CREDENTIALS"));
    }
    let guess = sign_in(&ingress, "ann@example.org", "a guess", "203.0.113.1").await;
    assert_eq!(limited_by(&guess), (429, "failed-sign-ins"));
    ingress.stop().await;
}
