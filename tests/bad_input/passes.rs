//! Passes that are missing, forged, for another account or show, or for another time.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, Utc};
use contract::{
    AccountId, ShowId, TicketId,
    access::Role,
    api::catalogue::RoomMode,
    keys::MasterKey,
    pass::{NewKey, Pass, SigningKey},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{JSON, good, refused};
use crate::{
    harness::{Plan, System},
    witness::Witness,
};

/// A signer with the installation's own key, the id of that key, and its public part.
async fn signer(system: &System) -> (SigningKey, String, Vec<u8>) {
    let (kid, public): (String, Vec<u8>) =
        sqlx::query_as("select kid, public_key from signing_keys where retired_at is null")
            .fetch_one(&system.pool)
            .await
            .unwrap();
    let master: MasterKey = system.slot.master_key();
    let keys = store::keys::load(&system.pool, &master).await.unwrap();
    (keys.sign.expect("the line has a key"), kid, public)
}

fn pass(show: ShowId, account: AccountId, from: DateTime<Utc>, until: DateTime<Utc>) -> Pass {
    Pass { show, account, ticket: TicketId::new(), issued_at: from, expires_at: until }
}

/// A token of this header and these claims, signed by the function.
fn token(header: &Value, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{claims}", BASE64.encode(header.to_string()));
    let signature = BASE64.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// HMAC-SHA256 with a public key as its secret.
fn hs256(public: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> + '_ {
    use aws_lc_rs::hmac;
    move |text| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), text).as_ref().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_pass_of_ones_own_for_this_show_and_now_opens_the_door() {
    let system = System::start().await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let witness = Witness::of(&system, show).await;
    let (account, access) = system.account(Role::User).await;
    let (signer, kid, public) = signer(&system).await;
    let now = platform::clock::now();
    let (minute, seconds) = (Duration::from_mins(1), Duration::from_secs);
    let valid = pass(show, account, now, now + minute);
    let good_pass = signer.sign(&valid);
    let claims = good_pass.split('.').nth(1).unwrap();
    let header = |alg: &str, kid: &str| json!({"typ": "usher-pass+jwt", "alg": alg, "kid": kid});
    let unsigned = |_: &[u8]| Vec::new();
    let zeros = |_: &[u8]| vec![0; 64];
    let others = NewKey::generate();
    let foreign = |kid: &str| SigningKey::new(kid.to_owned(), &others.private_pkcs8).sign(&valid);
    let mut edited: Value = serde_json::from_slice(&BASE64.decode(claims).unwrap()).unwrap();
    edited["exp"] = json!((now + 60 * minute).timestamp());
    let edited = good_pass.replace(claims, &BASE64.encode(edited.to_string()));
    let cases = [
        ("empty", String::new()),
        ("no token", "pass".to_owned()),
        ("an access token", access.clone()),
        ("alg none", token(&header("none", &kid), claims, unsigned)),
        ("alg None, as some libraries read it", token(&header("nOnE", &kid), claims, unsigned)),
        ("no signature", token(&header("EdDSA", &kid), claims, unsigned)),
        ("a signature of zeros", token(&header("EdDSA", &kid), claims, zeros)),
        ("the public key as a secret", token(&header("HS256", &kid), claims, hs256(&public))),
        (
            "a key brought along",
            token(
                &json!({"typ": "usher-pass+jwt", "alg": "EdDSA", "jwk": {"kty": "OKP"},
                    "jku": "http://127.0.0.1:1/"}),
                claims,
                zeros,
            ),
        ),
        (
            "another type of token",
            token(&json!({"typ": "JWT", "alg": "EdDSA", "kid": kid}), claims, zeros),
        ),
        ("an unknown key", foreign(&others.kid)),
        ("another key under a known name", foreign(&kid)),
        ("a key that is a path", foreign("../../../../etc/passwd")),
        ("a key that is an address", foreign("http://127.0.0.1:1/key")),
        ("a key that is a query", foreign("' or 1=1 --")),
        ("a key of 4 KiB", foreign(&"k".repeat(4096))),
        ("edited", edited),
        ("another show's", signer.sign(&pass(ShowId::new(), account, now, now + minute))),
        ("another account's", signer.sign(&pass(show, AccountId::new(), now, now + minute))),
        ("expired", signer.sign(&pass(show, account, now - minute, now - seconds(7)))),
        ("of the future", signer.sign(&pass(show, account, now + seconds(30), now + minute))),
    ];
    for (what, token) in &cases {
        let headers = [JSON, ("admission-pass", token)];
        let refusal = refused(&system, Some(&access), &headers, good(show)).await;
        assert_eq!((refusal.status, refusal.code()), (403, "PASS_INVALID"), "{what}");
        let said = refusal.body.to_string();
        assert!(!said.contains("passwd") && !said.contains("1=1"), "{what}: {said}");
    }
    let none = refused(&system, Some(&access), &[JSON], good(show)).await;
    assert_eq!((none.status, none.code()), (403, "PASS_REQUIRED"));
    assert_eq!(none.body["waitingRoom"], format!("/api/v1/shows/{show}/queue"));
    assert_eq!(witness.heard().await, 0, "something was published");

    // The leeway between clocks allows passes that have just expired or begin soon.
    for (from, until) in [(now - minute, now - seconds(1)), (now + seconds(2), now + minute)] {
        let pass = signer.sign(&pass(show, account, from, until));
        let headers = [("admission-pass", pass.as_str()), ("prefer", "wait=10")];
        let body = serde_json::from_str(&good(show)).unwrap();
        let path = "/api/v1/bookings";
        let answer = system.call(Method::POST, path, Some(&access), &headers, Some(body)).await;
        assert_eq!(answer.body["status"], "ALLOCATED", "{answer:?}");
    }
    system.stop().await;
}
