use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::Ingress;

/// Signs up or in as `body` says, from this address and device.
async fn enter(ingress: &Ingress, path: &str, body: &Value, from: &str, agent: &str) -> Answer {
    let call = ingress.call(Method::POST, path).json(body);
    let call = call.header("x-forwarded-for", from).header("user-agent", agent);
    let entered = Answer::to(call).await;
    assert!(entered.status.is_success(), "{entered:?}");
    entered
}

async fn sessions(ingress: &Ingress, token: &str) -> Vec<Value> {
    let listed = Answer::to(ingress.call(Method::GET, "/auth/sessions").bearer_auth(token)).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_owner_sees_their_sessions_and_ends_one_that_is_not_theirs() {
    let ingress = Ingress::start_with(&["--trusted-proxies", "127.0.0.1"]).await;
    let person = json!({"name": "Ann", "email": "ann@example.org", "password": "correct horse"});
    let own = enter(&ingress, "/auth/signup", &person, "192.0.2.77", "Firefox").await;
    let login = json!({"email": "ann@example.org", "password": "correct horse"});
    let long = "x".repeat(500);
    let thief = enter(&ingress, "/auth/login", &login, "2001:db8:1:2::3", &long).await;
    let other = json!({"name": "Bob", "email": "bob@example.org", "password": "correct horse"});
    let other = enter(&ingress, "/auth/signup", &other, "192.0.2.1", "").await;

    let token = own.id("accessToken");
    let seen = sessions(&ingress, &token).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    let (theirs, mine) = (&seen[0], &seen[1]);
    assert_eq!((&mine["network"], &mine["userAgent"]), (&json!("192.0.2.0/24"), &json!("Firefox")));
    assert_eq!((&mine["current"], &theirs["current"]), (&json!(true), &json!(false)));
    assert_eq!(theirs["network"], "2001:db8:1::/48");
    assert_eq!(theirs["userAgent"].as_str().unwrap().len(), 200);

    let id = theirs["sessionId"].as_str().unwrap();
    let end = async |token: &str, id: &str| {
        let call = ingress.call(Method::DELETE, &format!("/auth/sessions/{id}"));
        Answer::to(call.bearer_auth(token)).await
    };
    let strangers = end(&other.id("accessToken"), id).await;
    assert_eq!(strangers.problem(), (404, "SESSION_NOT_FOUND"), "somebody else's");
    assert_eq!(end(&token, "x").await.problem(), (400, "VALIDATION_FAILED"));
    assert_eq!(end(&token, id).await.status, 204);
    assert_eq!(end(&token, id).await.problem(), (404, "SESSION_NOT_FOUND"));
    let body = json!({"refreshToken": thief.id("refreshToken")});
    let refused = ingress.send(Method::POST, "/auth/refresh", None, &body).await;
    assert_eq!(refused.problem(), (401, "SESSION_ENDED"));

    // A refresh moves the session to where it was made.
    let body = json!({"refreshToken": own.id("refreshToken")});
    let moved = enter(&ingress, "/auth/refresh", &body, "198.51.100.9", "Firefox 2").await;
    let seen = sessions(&ingress, &moved.id("accessToken")).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0]["network"], &seen[0]["current"]),
        (&json!("198.51.100.0/24"), &json!(true))
    );
    ingress.stop().await;
}
