use std::time::Duration;

use contract::{access::Role, second_factor::TotpSecret};
use futures_util::future::join_all;
use platform::clock;
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::{Ingress, movie};

const EMAIL: &str = "ann@example.org";
const PASSWORD: &str = "correct horse";

/// An account with a second factor, and its authenticator app.
struct Owner {
    secret: TotpSecret,
    recovery_codes: Vec<String>,
    token: String,
}

async fn sign_up(ingress: &Ingress) -> Answer {
    let body = json!({"name": "Ann", "email": EMAIL, "password": PASSWORD});
    let made = ingress.send(Method::POST, "/auth/signup", None, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made
}

async fn owner(ingress: &Ingress) -> Owner {
    let token = sign_up(ingress).await.id("accessToken");
    let begun = ingress.post("/auth/totp", &token, &json!({"password": PASSWORD})).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let secret = TotpSecret::parse(begun.body["secret"].as_str().unwrap()).unwrap();
    assert!(begun.body["uri"].as_str().unwrap().contains(&secret.text()), "{begun:?}");
    // The code of the step before, so that the present one is left for the test.
    let code = secret.code(clock::now() - Duration::from_secs(30));
    let confirmed = ingress.post("/auth/totp/confirm", &token, &json!({"code": code})).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    Owner {
        secret,
        recovery_codes: serde_json::from_value(confirmed.body["recoveryCodes"].clone()).unwrap(),
        token: confirmed.body["signedIn"]["accessToken"].as_str().unwrap().to_owned(),
    }
}

async fn log_in(ingress: &Ingress, password: &str, code: Option<&str>) -> Answer {
    let mut body = json!({"email": EMAIL, "password": password});
    if let Some(code) = code {
        body["code"] = json!(code);
    }
    ingress.send(Method::POST, "/auth/login", None, &body).await
}

#[tokio::test]
async fn a_sign_in_needs_the_code_once_it_is_confirmed_and_each_code_is_good_once() {
    let ingress = Ingress::start().await;
    let ann = owner(&ingress).await;
    let asked = log_in(&ingress, PASSWORD, None).await;
    assert_eq!(asked.problem(), (401, "SECOND_FACTOR_REQUIRED"));
    let guessed = log_in(&ingress, "battery staple", None).await;
    assert_eq!(guessed.problem(), (401, "BAD_CREDENTIALS"), "says nothing of the factor");
    for wrong in ["", "12345", "no code"] {
        let refused = log_in(&ingress, PASSWORD, Some(wrong)).await;
        assert_eq!(refused.problem(), (401, "SECOND_FACTOR_WRONG"), "{wrong}");
    }
    let code = ann.secret.code(clock::now());
    assert_eq!(log_in(&ingress, PASSWORD, Some(&code)).await.status, 200);
    let again = log_in(&ingress, PASSWORD, Some(&code)).await;
    assert_eq!(again.problem(), (401, "SECOND_FACTOR_WRONG"), "used");
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_sent_several_times_at_once_is_taken_once() {
    let ingress = Ingress::start_with(&["--password-hashes-max", "4"]).await;
    let ann = owner(&ingress).await;
    for code in [ann.secret.code(clock::now()), ann.recovery_codes[0].clone()] {
        let tries = (0..5).map(|_| log_in(&ingress, PASSWORD, Some(&code)));
        let answers = join_all(tries).await;
        let taken = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(taken, 1, "{code}: {answers:?}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn a_factor_is_set_up_by_whoever_knows_the_password_and_ends_what_began_without_it() {
    let ingress = Ingress::start().await;
    let made = sign_up(&ingress).await;
    let token = made.id("accessToken");
    let set_up = async |password: &str| {
        ingress.post("/auth/totp", &token, &json!({"password": password})).await
    };
    let confirm =
        async |code: &str| ingress.post("/auth/totp/confirm", &token, &json!({"code": code})).await;
    assert_eq!(confirm("123456").await.problem(), (409, "SECOND_FACTOR_MISSING"));
    assert_eq!(set_up("a guess").await.problem(), (401, "BAD_CREDENTIALS"));
    let secret = set_up(PASSWORD).await.body["secret"].as_str().unwrap().to_owned();
    assert_eq!(confirm("000 00").await.problem(), (401, "SECOND_FACTOR_WRONG"));
    assert_eq!(log_in(&ingress, PASSWORD, None).await.status, 200, "not confirmed yet");
    let code = TotpSecret::parse(&secret).unwrap().code(clock::now());
    assert_eq!(confirm(&code).await.status, 200);
    let old = json!({"refreshToken": made.id("refreshToken")});
    let refused = ingress.send(Method::POST, "/auth/refresh", None, &old).await;
    assert_eq!(refused.problem(), (401, "SESSION_ENDED"));
    let sealed: Vec<u8> = sqlx::query_scalar("select sealed_secret from second_factors")
        .fetch_one(&ingress.pool)
        .await
        .unwrap();
    let plain = TotpSecret::parse(&secret).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains(&plain.text()), "encrypted");
    ingress.stop().await;
}

#[tokio::test]
async fn a_factor_is_removed_with_password_and_code_and_recovery_codes_help() {
    let ingress = Ingress::start().await;
    let ann = owner(&ingress).await;
    assert_eq!(ann.recovery_codes.len(), 10);
    let remove = async |password: &str, code: &str| {
        let body = json!({"password": password, "code": code});
        ingress.send(Method::DELETE, "/auth/totp", Some(&ann.token), &body).await
    };
    let again = ingress.post("/auth/totp", &ann.token, &json!({"password": PASSWORD})).await;
    assert_eq!(again.problem(), (409, "SECOND_FACTOR_PRESENT"));
    let used = &ann.recovery_codes[0];
    assert_eq!(log_in(&ingress, PASSWORD, Some(&used.to_uppercase())).await.status, 200);
    assert_eq!(remove(PASSWORD, used).await.problem(), (401, "SECOND_FACTOR_WRONG"), "used");
    let next = &ann.recovery_codes[1];
    assert_eq!(remove("a guess", next).await.problem(), (401, "BAD_CREDENTIALS"));
    assert_eq!(remove(PASSWORD, next).await.status, 204, "a wrong password uses no code");
    assert_eq!(remove(PASSWORD, next).await.problem(), (409, "SECOND_FACTOR_MISSING"));
    assert_eq!(log_in(&ingress, PASSWORD, None).await.status, 200);
    ingress.stop().await;
}

#[tokio::test]
async fn wrong_codes_count_as_wrong_passwords() {
    let ingress = Ingress::start().await;
    let ann = owner(&ingress).await;
    // From the network of the sign-up as many again are answered.
    let mut limited = None;
    for n in 0..25 {
        let refused = log_in(&ingress, PASSWORD, Some("no code")).await;
        if refused.status == 429 {
            limited = Some((n, refused));
            break;
        }
        assert_eq!(refused.problem(), (401, "SECOND_FACTOR_WRONG"));
    }
    let (n, refused) = limited.expect("guesses are limited");
    assert_eq!((n, refused.problem()), (20, (429, "RATE_LIMITED")));
    let code = ann.secret.code(clock::now());
    assert_eq!(log_in(&ingress, PASSWORD, Some(&code)).await.status, 429, "even a right one");
    ingress.stop().await;
}

#[tokio::test]
async fn a_repeated_sign_up_does_not_go_round_the_second_factor() {
    let ingress = Ingress::start().await;
    let body = json!({"name": "Ann", "email": EMAIL, "password": PASSWORD});
    let sign_up = async || {
        let call = ingress.call(Method::POST, "/auth/signup").json(&body);
        Answer::to(call.header("idempotency-key", "one")).await
    };
    let token = sign_up().await.id("accessToken");
    let begun = ingress.post("/auth/totp", &token, &json!({"password": PASSWORD})).await;
    let secret = TotpSecret::parse(begun.body["secret"].as_str().unwrap()).unwrap();
    let code = json!({"code": secret.code(clock::now())});
    assert_eq!(ingress.post("/auth/totp/confirm", &token, &code).await.status, 200);
    assert_eq!(sign_up().await.problem(), (401, "SECOND_FACTOR_REQUIRED"));
    ingress.stop().await;
}

#[tokio::test]
async fn where_admins_need_a_factor_one_without_can_only_set_one_up() {
    let ingress = Ingress::start_with(&["--admins-need-second-factor", "true"]).await;
    sign_up(&ingress).await;
    let known = store::accounts::by_email(&ingress.pool, EMAIL).await.unwrap().unwrap();
    store::accounts::set_role(&ingress.pool, known.user.user_id, Role::Admin).await.unwrap();
    let token = log_in(&ingress, PASSWORD, None).await.id("accessToken");
    let write: Value = movie("Monsoon Express");
    let refused = ingress.post("/movies", &token, &write).await;
    assert_eq!(refused.problem(), (403, "SECOND_FACTOR_NEEDED"));
    let begun = ingress.post("/auth/totp", &token, &json!({"password": PASSWORD})).await;
    let secret = TotpSecret::parse(begun.body["secret"].as_str().unwrap()).unwrap();
    let code = json!({"code": secret.code(clock::now())});
    let confirmed = ingress.post("/auth/totp/confirm", &token, &code).await;
    let token = confirmed.body["signedIn"]["accessToken"].as_str().unwrap();
    assert_eq!(ingress.post("/movies", token, &write).await.status, 201);
    ingress.stop().await;
}

#[tokio::test]
async fn a_voided_password_ends_a_factor_that_may_be_somebody_elses_and_a_reset_one_does_not() {
    let ingress = Ingress::start().await;
    owner(&ingress).await;
    let known = store::accounts::by_email(&ingress.pool, EMAIL).await.unwrap().unwrap();
    let (id, hour) = (known.user.user_id, Duration::from_hours(1));
    let has_factor = async || store::second_factors::is_confirmed(&ingress.pool, id).await.unwrap();
    let link = "l".repeat(43);
    store::password_links::make(&ingress.pool, id, &link, hour).await.unwrap();
    let body = json!({"token": link, "password": "battery staple"});
    assert_eq!(ingress.send(Method::POST, "/auth/password-reset", None, &body).await.status, 204);
    assert!(has_factor().await, "a link proves an address, not a person");
    let asked = log_in(&ingress, "battery staple", None).await;
    assert_eq!(asked.problem(), (401, "SECOND_FACTOR_REQUIRED"));
    store::accounts::void_password(&ingress.pool, id).await.unwrap();
    assert!(!has_factor().await);
    ingress.stop().await;
}
