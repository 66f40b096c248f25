//! Callers without a token, with a forged one, or without a right to the data.

use contract::{
    AccountId,
    access::{AccessKeys, Caller, Role},
    keys::MasterKey,
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{JSON, Refusal, good, nothing_came_through, refused};
use crate::{
    harness::{Plan, System},
    witness::Witness,
};

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_prove_an_account_books_nothing_and_learns_nothing() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let witness = Witness::of(&system, show).await;
    let (account, token) = system.account(Role::User).await;
    let caller = Caller { account, role: Role::Admin };
    let keys = AccessKeys::new(&system.slot.master_key());
    let other = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let strangers = AccessKeys::new(&other);
    let (now, minute) = (platform::clock::now(), std::time::Duration::from_mins(1));
    let claims = token.split('.').nth(1).unwrap();
    for (what, token) in [
        ("none", None),
        ("nothing", Some(String::new())),
        ("no signature", Some(format!("eyJhbGciOiJub25lIn0.{claims}."))),
        (
            "no signature, but the header of one",
            Some(token.rsplit_once('.').unwrap().0.to_owned() + "."),
        ),
        ("of another installation", Some(strangers.issue(caller, now + minute))),
        ("expired", Some(keys.issue(caller, now - minute))),
        ("long", Some("x".repeat(8_000))),
    ] {
        let refusal = refused(&system, token.as_deref(), &[JSON], good(show)).await;
        assert_eq!((refusal.status, refusal.code()), (401, "UNAUTHENTICATED"), "{what}");
        assert_eq!(refusal.headers["www-authenticate"], "Bearer", "{what}");
        assert!(!refusal.body.to_string().contains(&account.to_string()), "{what}: {refusal:?}");
    }
    for scheme in ["Basic dXNlcjpwYXNz", "Bearer", "Negotiate x"] {
        let refusal = refused(&system, None, &[JSON, ("authorization", scheme)], good(show)).await;
        assert_eq!(refusal.status, 401, "{scheme:?}");
    }
    let form_first = refused(&system, None, &[JSON], "{").await;
    assert_eq!(form_first.code(), "MALFORMED_JSON", "form before account");
    nothing_came_through(&system, &witness, show, &token).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_yours_is_not_there() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (token, stranger) = (system.visitor().await, system.visitor().await);
    let booked =
        system.book(&token, json!({"showId": show, "tier": "STANDARD", "quantity": 1})).await;
    let booking = booked.body["bookingId"].as_str().unwrap().to_owned();
    let order = booked.body["order"]["orderId"].as_str().unwrap().to_owned();
    let reference = booked.body["order"]["reference"].as_str().unwrap().to_owned();
    // Another account's data and data that does not exist get the same answer.
    for (theirs, nobodys) in [
        (format!("bookings/{booking}"), format!("bookings/{}", AccountId::new())),
        (format!("orders/{order}"), format!("orders/{}", AccountId::new())),
        (format!("orders/{order}/ticket"), format!("orders/{}/ticket", AccountId::new())),
        (format!("holds/{booking}"), format!("holds/{}", AccountId::new())),
        (format!("bookings/reference/{reference}"), "bookings/reference/%00".to_owned()),
    ] {
        let ask = async |path: &str, token| {
            let answer = system.get(&format!("/api/v1/{path}"), token).await;
            let mut refusal = Refusal::of(answer);
            refusal.body.as_object_mut().unwrap().remove("requestId");
            refusal
        };
        let (theirs, nobodys) =
            (ask(&theirs, Some(&stranger)).await, ask(&nobodys, Some(&stranger)).await);
        assert_eq!(theirs.status, 404, "{theirs:?}");
        assert_eq!(theirs.body, nobodys.body);
        assert_eq!(ask(&format!("orders/{order}"), None).await.status, 401);
    }
    for call in ["confirm-payment", "cancel"] {
        let path = format!("/api/v1/orders/{order}/{call}");
        let answer = system.post(&path, &stranger, json!({"method": "mock"})).await;
        assert_eq!(Refusal::of(answer).status, 404, "{call}");
    }
    let path = format!("/api/v1/holds/{booking}");
    let released = system.call(Method::DELETE, &path, Some(&stranger), &[], None).await;
    assert_eq!(released.status, StatusCode::NOT_FOUND);
    let bad = Refusal::of(system.get("/api/v1/bookings/not-an-id", Some(&token)).await);
    assert_eq!((bad.status, bad.code()), (400, "VALIDATION_FAILED"));
    let strange = system.call(Method::PATCH, "/api/v1/bookings", Some(&token), &[], None).await;
    let strange = Refusal::of(strange);
    assert_eq!((strange.status, strange.code()), (405, "METHOD_NOT_ALLOWED"));
    let nowhere = Refusal::of(system.get("/api/v1/nowhere", None).await);
    assert_eq!((nowhere.status, nowhere.code()), (404, "NOT_FOUND"));
    let own = system.get(&format!("/api/v1/orders/{order}"), Some(&token)).await;
    assert_eq!(own.body["status"], "PAYMENT_PENDING", "untouched: {own:?}");
    system.stop().await;
}
