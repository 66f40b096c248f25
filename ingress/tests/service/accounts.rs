use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::Ingress;

#[tokio::test]
async fn whoever_signs_up_can_sign_in_and_change_their_profile() {
    let ingress = Ingress::start().await;
    let signup = json!({"name": "Zoë", "email": "Zoe@Example.org", "password": "correct horse"});
    let made = ingress.send(Method::POST, "/auth/signup", None, &signup).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["user"]["email"], "zoe@example.org");
    assert_eq!(made.body["user"]["role"], "user");

    let again = json!({"name": "Z", "email": "ZOE@example.org", "password": "another one"});
    let again = ingress.send(Method::POST, "/auth/signup", None, &again).await;
    assert_eq!(again.problem(), (409, "EMAIL_TAKEN"));

    let login = json!({"email": "zoe@EXAMPLE.org", "password": "correct horse"});
    let entered = ingress.send(Method::POST, "/auth/login", None, &login).await;
    assert_eq!(entered.status, 200);
    let token = entered.id("accessToken");

    let change = json!({"name": "Zoë Ω", "phone": "+91 98765 43210"});
    let changed = ingress.send(Method::PUT, "/auth/profile", Some(&token), &change).await;
    assert_eq!(changed.body["name"], "Zoë Ω");
    let profile = ingress.call(Method::GET, "/auth/profile").bearer_auth(&token);
    assert_eq!(Answer::to(profile).await.body, changed.body);
    assert_eq!(ingress.get("/auth/profile").await.problem(), (401, "UNAUTHENTICATED"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let ingress = Ingress::start().await;
    let signup = json!({"name": "Ann", "email": "ann@example.org", "password": "correct horse"});
    ingress.send(Method::POST, "/auth/signup", None, &signup).await;
    for (email, password) in [
        ("ann@example.org", "battery staple"),
        ("nobody@example.org", "correct horse"),
        ("no address\0", "correct horse"),
        ("ann@example.org", ""),
    ] {
        let login = json!({"email": email, "password": password});
        let refused = ingress.send(Method::POST, "/auth/login", None, &login).await;
        assert_eq!(refused.problem(), (401, "BAD_CREDENTIALS"), "{email}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn a_sign_up_whose_answer_was_lost_is_the_same_account_again() {
    let ingress = Ingress::start().await;
    let body = json!({"name": "Ann", "email": "ann@example.org", "password": "correct horse"});
    let sign_up = async |key: Option<&str>, body: &Value| {
        let call = ingress.call(Method::POST, "/auth/signup").json(body);
        Answer::to(match key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        })
        .await
    };
    let made = sign_up(Some("one"), &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let again = sign_up(Some("one"), &body).await;
    assert_eq!((again.status.as_u16(), &again.body["user"]), (201, &made.body["user"]));
    assert_ne!(again.body["refreshToken"], made.body["refreshToken"], "a session of its own");
    let call = ingress.call(Method::GET, "/auth/profile").bearer_auth(again.id("accessToken"));
    assert_eq!(Answer::to(call).await.body, made.body["user"]);

    for (field, value) in [("name", "Bob"), ("password", "another one"), ("phone", "+91 1234567")] {
        let mut other = body.clone();
        other[field] = json!(value);
        let refused = sign_up(Some("one"), &other).await;
        assert_eq!(refused.problem(), (422, "IDEMPOTENCY_KEY_REUSED"), "{field}");
    }
    for key in [None, Some("two")] {
        assert_eq!(sign_up(key, &body).await.problem(), (409, "EMAIL_TAKEN"), "{key:?}");
    }
    assert_eq!(sign_up(Some("no key"), &body).await.problem(), (400, "VALIDATION_FAILED"));
    // The key counts only for its own address.
    let elsewhere = json!({"name": "Ann", "email": "bob@example.org", "password": "correct horse"});
    let other = sign_up(Some("one"), &elsewhere).await;
    assert_eq!(other.status, 201);
    assert_ne!(other.body["user"]["userId"], made.body["user"]["userId"]);
    ingress.stop().await;
}
