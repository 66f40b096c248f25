//! Headers with malformed values.

use reqwest::Method;

use super::{JSON, good, nothing_came_through, refused};
use crate::{
    harness::{Plan, System, fresh_key},
    witness::Witness,
};

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_cannot_be_read_are_refused() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let witness = Witness::of(&system, show).await;
    let token = system.visitor().await;
    let (too_long, endless) = ("k".repeat(65), "k".repeat(10 * 1024));
    let key = |value| vec![JSON, ("idempotency-key", value)];
    let kind = |value| vec![("content-type", value)];
    for (what, headers, status, code) in [
        ("no type", vec![], 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("text", kind("text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("a form", kind("application/x-www-form-urlencoded"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("utf-16", kind("application/json; charset=utf-16"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "utf-7",
            kind("application/json; charset=utf-8; charset=utf-7"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("nearly JSON", kind("application/jsonp"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("an empty key", key(""), 400, "VALIDATION_FAILED"),
        ("a long key", key(&too_long), 400, "VALIDATION_FAILED"),
        ("a very long key", key(&endless), 400, "VALIDATION_FAILED"),
        ("a key with a space", key("a b"), 400, "VALIDATION_FAILED"),
        ("a key with a tab", key("a\tb"), 400, "VALIDATION_FAILED"),
        ("a key of another script", key("ключ"), 400, "VALIDATION_FAILED"),
        (
            "two keys",
            vec![JSON, ("idempotency-key", "a"), ("idempotency-key", "b")],
            400,
            "VALIDATION_FAILED",
        ),
        ("a strange wait", vec![JSON, ("prefer", "wait=soon")], 400, "VALIDATION_FAILED"),
        ("a negative wait", vec![JSON, ("prefer", "wait=-1")], 400, "VALIDATION_FAILED"),
        (
            "an endless wait",
            vec![JSON, ("prefer", "wait=99999999999999999999")],
            400,
            "VALIDATION_FAILED",
        ),
    ] {
        let refusal = refused(&system, Some(&token), &headers, good(show)).await;
        assert_eq!((refusal.status, refusal.code()), (status, code), "{what}: {}", refusal.body);
    }
    nothing_came_through(&system, &witness, show, &token).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_request_is_its_own() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let submit = async |headers: &[(&str, &str)]| {
        let body = serde_json::from_str(&good(show)).unwrap();
        let path = "/api/v1/bookings";
        let answer = system.call(Method::POST, path, Some(&token), headers, Some(body)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["bookingId"].as_str().unwrap().to_owned()
    };
    assert_ne!(submit(&[]).await, submit(&[]).await);
    let key = fresh_key();
    let keyed = [("idempotency-key", key.as_str())];
    assert_eq!(submit(&keyed).await, submit(&keyed).await);
    // A key may hold every visible character, also those that are special elsewhere.
    let odd = r#"'";--{}:*\%24../"#;
    let odd = [("idempotency-key", odd)];
    assert_eq!(submit(&odd).await, submit(&odd).await);
    system.stop().await;
}
