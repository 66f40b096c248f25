//! What a browser is told: which pages of other origins may call, and what it may do with answers.

use contract::access::Role;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::json;
use testing::Answer;

use crate::running::Ingress;

const PAGE: &str = "https://tickets.example";
const STRANGER: &str = "https://evil.example";

/// A preflight: a browser asks whether a page of this origin may make the call.
async fn preflight(ingress: &Ingress, origin: &str, method: &str, path: &str) -> Answer {
    let asked = ingress.call(Method::OPTIONS, path).header("origin", origin);
    let asked = asked.header("access-control-request-method", method);
    Answer::to(asked.header("access-control-request-headers", "authorization")).await
}

fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap().split(','));
    values.map(|word| word.trim().to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_gets_what_it_needs_and_no_other_page_does() {
    let ingress = Ingress::start_with(&["--allowed-origins", PAGE]).await;
    for (method, path) in [("POST", "/bookings"), ("DELETE", "/holds/1"), ("GET", "/movies")] {
        let asked = preflight(&ingress, PAGE, method, path).await;
        assert_eq!(asked.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(asked.headers["access-control-allow-origin"], PAGE, "{path}");
        assert!(
            words(&asked.headers, "access-control-allow-methods").contains(&method.to_lowercase())
        );
        let sent = words(&asked.headers, "access-control-allow-headers");
        for header in
            ["authorization", "content-type", "idempotency-key", "admission-pass", "prefer"]
        {
            assert!(sent.contains(&header.to_owned()), "{header}");
        }
        let strange = preflight(&ingress, STRANGER, method, path).await;
        assert_eq!(strange.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(!strange.headers.contains_key("access-control-allow-origin"), "{path}");
    }
    // The answer itself, where it is good, where it is a problem, and where no route is.
    for path in ["/movies", "/auth/profile", "/nothing"] {
        let read = |origin| Answer::to(ingress.call(Method::GET, path).header("origin", origin));
        let (ours, theirs) = (read(PAGE).await, read(STRANGER).await);
        assert_eq!(ours.headers["access-control-allow-origin"], PAGE, "{path}");
        let told = words(&ours.headers, "access-control-expose-headers");
        for header in ["retry-after", "location", "date", "etag", "x-request-id"] {
            assert!(told.contains(&header.to_owned()), "{header}");
        }
        assert!(!theirs.headers.contains_key("access-control-allow-origin"), "{path}");
        for answer in [ours, theirs, ingress.get(path).await] {
            assert!(words(&answer.headers, "vary").contains(&"origin".to_owned()), "{path}");
        }
    }
    let options =
        Answer::to(ingress.call(Method::OPTIONS, "/bookings").header("origin", PAGE)).await;
    assert_eq!(options.status, StatusCode::METHOD_NOT_ALLOWED, "no preflight");
    assert!(words(&options.headers, "allow").contains(&"post".to_owned()));
    ingress.stop().await;
}

#[tokio::test]
async fn without_an_allowed_origin_no_page_elsewhere_may_call() {
    let ingress = Ingress::start().await;
    let asked = preflight(&ingress, PAGE, "POST", "/bookings").await;
    assert_eq!(asked.status, StatusCode::METHOD_NOT_ALLOWED);
    let read = Answer::to(ingress.call(Method::GET, "/movies").header("origin", PAGE)).await;
    assert!(!read.headers.contains_key("access-control-allow-origin"));
    assert!(!words(&read.headers, "vary").contains(&"origin".to_owned()), "one answer for all");
    ingress.stop().await;
}

#[tokio::test]
async fn every_answer_says_how_carefully_to_treat_it() {
    let ingress = Ingress::start().await;
    let token = ingress.token(Role::User).await;
    let login = json!({"email": "nobody@example.org", "password": "wrong, and long enough"});
    let own = ingress.send(Method::GET, "/auth/profile", Some(&token), &json!({})).await;
    assert_eq!(own.status, StatusCode::OK);
    let refused = ingress.send(Method::POST, "/auth/login", None, &login).await;
    let catalogue = ingress.get("/movies").await;
    let again = ingress.call(Method::GET, "/movies").header("if-none-match", "*");
    let unchanged = Answer::to(again).await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
    let page = ingress.get("//docs").await;
    let keys = ingress.get("//.well-known/jwks.json").await;
    for (answer, kept) in [
        (&own, "no-store"),
        (&refused, "no-store"),
        (&catalogue, "no-cache"),
        // Else a browser would forget the answer that it has just learnt to be good.
        (&unchanged, "no-cache"),
        (&page, "no-cache"),
        (&keys, "no-cache"),
    ] {
        assert_eq!(answer.headers["cache-control"], kept, "{answer:?}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(answer.headers.contains_key("date"));
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src"), "the page has a policy of its own: {policy}");
    ingress.stop().await;
}
