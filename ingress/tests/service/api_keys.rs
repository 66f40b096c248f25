use std::time::Duration;

use contract::{access::Role, api_key};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, eventually};
use tokio::time::Instant;

use crate::running::{Ingress, movie};

const PASSWORD: &str = "correct horse";

async fn sign_up(ingress: &Ingress, email: &str) -> String {
    let body = json!({"name": "Ann", "email": email, "password": PASSWORD});
    let made = ingress.send(Method::POST, "/auth/signup", None, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.id("accessToken")
}

async fn make(ingress: &Ingress, token: &str, scopes: &[&str]) -> Answer {
    let body = json!({"password": PASSWORD, "name": "Box office", "scopes": scopes});
    ingress.post("/auth/api-keys", token, &body).await
}

async fn call(ingress: &Ingress, method: Method, path: &str, bearer: &str) -> Answer {
    Answer::to(ingress.call(method, path).bearer_auth(bearer)).await
}

async fn bookings(ingress: &Ingress, bearer: &str) -> Answer {
    call(ingress, Method::GET, "/auth/bookings", bearer).await
}

/// Waits until the key is refused; longer than two seconds is a failure.
async fn ends_within_two_seconds(ingress: &Ingress, key: &str) {
    let began = Instant::now();
    eventually("the key is refused", Duration::from_secs(10), async || {
        (bookings(ingress, key).await.status == 401).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_key_acts_as_its_account_within_its_scopes() {
    let ingress = Ingress::start().await;
    let token = sign_up(&ingress, "ann@example.org").await;
    let made = make(&ingress, &token, &["bookings:read", "bookings:read"]).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["scopes"], json!(["bookings:read"]));
    let key = made.id("secret");
    assert!(key.starts_with(api_key::PREFIX) && key.len() == api_key::CHARS, "{key}");
    let read = bookings(&ingress, &key).await;
    assert_eq!((read.status.as_u16(), &read.body["items"]), (200, &json!([])));

    let order = "/orders/01890000-0000-7000-8000-000000000000/cancel";
    for (method, path) in [
        (Method::POST, order),
        (Method::GET, "/auth/profile"),
        (Method::GET, "/auth/sessions"),
        (Method::GET, "/auth/api-keys"),
        (Method::POST, "/auth/logout-everywhere"),
        (Method::DELETE, "/auth/sessions/01890000-0000-7000-8000-000000000000"),
    ] {
        let refused = call(&ingress, method, path, &key).await;
        assert_eq!(refused.problem(), (403, "SCOPE_MISSING"), "{path}");
    }
    let mut forged = key.clone();
    forged.replace_range(50..51, if &key[50..51] == "A" { "B" } else { "A" });
    for bad in [&forged, "usher_", "usher_x"] {
        assert_eq!(bookings(&ingress, bad).await.problem(), (401, "UNAUTHENTICATED"), "{bad}");
    }
    let public = call(&ingress, Method::GET, "/movies", &key).await;
    assert_eq!(public.status, 200, "needs no scope");
    let listed = call(&ingress, Method::GET, "/auth/api-keys", &token).await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    assert!(!listed.body.to_string().contains(&key[api_key::PREFIX.len()..]), "never the secret");
    assert!(listed.body["items"][0]["lastUsedAt"].is_string(), "{listed:?}");
    ingress.stop().await;
}

#[tokio::test]
async fn a_key_of_an_admin_writes_the_catalogue_and_one_of_a_user_does_not() {
    let ingress = Ingress::start().await;
    let write: Value = movie("Monsoon Express");
    let token = sign_up(&ingress, "ann@example.org").await;
    let key = make(&ingress, &token, &["catalogue:write"]).await.id("secret");
    assert_eq!(ingress.post("/movies", &key, &write).await.problem(), (403, "FORBIDDEN"));
    let known = store::accounts::by_email(&ingress.pool, "ann@example.org").await.unwrap().unwrap();
    store::accounts::set_role(&ingress.pool, known.user.user_id, Role::Admin).await.unwrap();
    ends_within_two_seconds(&ingress, &key).await;
    let login = json!({"email": "ann@example.org", "password": PASSWORD});
    let token = ingress.send(Method::POST, "/auth/login", None, &login).await.id("accessToken");
    let key = make(&ingress, &token, &["catalogue:write"]).await.id("secret");
    let made = ingress.post("/movies", &key, &write).await;
    assert_eq!(made.status, 201, "{made:?}");
    let open = format!("/shows/{}/open", made.id("movieId"));
    let refused = ingress.post(&open, &key, &json!({})).await;
    assert_eq!(refused.problem(), (403, "SCOPE_MISSING"), "another scope");
    ingress.stop().await;
}

#[tokio::test]
async fn a_deleted_key_ends_on_another_node_within_two_seconds() {
    let ingress = Ingress::start().await;
    let other = ingress.start_beside().await;
    let token = sign_up(&ingress, "ann@example.org").await;
    let strangers = sign_up(&ingress, "bob@example.org").await;
    let made = make(&ingress, &token, &["bookings:read"]).await;
    let (key, path) = (made.id("secret"), format!("/auth/api-keys/{}", made.id("apiKeyId")));
    assert_eq!(bookings(&other, &key).await.status, 200);
    let refused = call(&ingress, Method::DELETE, &path, &strangers).await;
    assert_eq!(refused.problem(), (404, "API_KEY_NOT_FOUND"), "somebody else's");
    assert_eq!(call(&ingress, Method::DELETE, &path, &token).await.status, 204);
    ends_within_two_seconds(&other, &key).await;
    assert_eq!(call(&ingress, Method::DELETE, &path, &token).await.problem().0, 404);
    other.stop().await;
    ingress.stop().await;
}

#[tokio::test]
async fn a_changed_password_and_the_end_of_its_time_end_a_key() {
    let ingress = Ingress::start().await;
    let token = sign_up(&ingress, "ann@example.org").await;
    let key = make(&ingress, &token, &["bookings:read"]).await.id("secret");
    assert_eq!(bookings(&ingress, &key).await.status, 200);
    sqlx::query("update api_keys set expires_at = clock_timestamp()")
        .execute(&ingress.pool)
        .await
        .unwrap();
    ends_within_two_seconds(&ingress, &key).await;
    let key = make(&ingress, &token, &["bookings:read"]).await.id("secret");
    assert_eq!(bookings(&ingress, &key).await.status, 200);
    let change = json!({"password": PASSWORD, "newPassword": "battery staple"});
    let changed = ingress.send(Method::PUT, "/auth/password", Some(&token), &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    ends_within_two_seconds(&ingress, &key).await;
    ingress.stop().await;
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_for_a_while_and_two_rotations_at_once_are_one() {
    let ingress = Ingress::start().await;
    let token = sign_up(&ingress, "ann@example.org").await;
    let made = make(&ingress, &token, &["bookings:read"]).await;
    let (first, path) =
        (made.id("secret"), format!("/auth/api-keys/{}/rotate", made.id("apiKeyId")));
    assert_eq!(bookings(&ingress, &first).await.status, 200);
    let plain = json!({"password": PASSWORD});
    let rotations = join_all((0..2).map(|_| ingress.post(&path, &token, &plain))).await;
    let done: Vec<&Answer> = rotations.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(done.len(), 1, "{rotations:?}");
    let refused = rotations.iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!(refused.problem(), (409, "API_KEY_JUST_ROTATED"));
    let second = done[0].id("secret");
    eventually("the new secret is known", Duration::from_secs(2), async || {
        (bookings(&ingress, &second).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(bookings(&ingress, &first).await.status, 200, "in the overlap");
    let at_once = json!({"password": PASSWORD, "overlapSeconds": 0});
    let third = ingress.post(&path, &token, &at_once).await;
    assert_eq!(third.status, 200, "{third:?}");
    ends_within_two_seconds(&ingress, &first).await;
    ends_within_two_seconds(&ingress, &second).await;
    assert_eq!(bookings(&ingress, &third.id("secret")).await.status, 200);
    ingress.stop().await;
}

#[tokio::test]
async fn a_key_is_made_by_whoever_knows_the_password_and_an_account_has_so_many() {
    let ingress = Ingress::start().await;
    let token = sign_up(&ingress, "ann@example.org").await;
    let body = |field: &str, value: Value| {
        let mut body = json!({"password": PASSWORD, "name": "x", "scopes": ["bookings:read"]});
        body[field] = value;
        body
    };
    for (field, value, pointer) in [
        ("name", json!(""), "/name"),
        ("scopes", json!([]), "/scopes"),
        ("scopes", json!(["everything"]), "/scopes/0"),
        ("expiresAt", json!("2020-01-01T00:00:00Z"), "/expiresAt"),
        ("expiresAt", json!("9999-01-01T00:00:00Z"), "/expiresAt"),
    ] {
        let refused = ingress.post("/auth/api-keys", &token, &body(field, value)).await;
        assert_eq!((refused.problem(), refused.pointer()), ((400, "VALIDATION_FAILED"), pointer));
    }
    let guess = ingress.post("/auth/api-keys", &token, &body("password", json!("a guess"))).await;
    assert_eq!(guess.problem(), (401, "BAD_CREDENTIALS"));
    let known = store::accounts::by_email(&ingress.pool, "ann@example.org").await.unwrap().unwrap();
    let id = known.user.user_id;
    let scopes = [contract::api::api_keys::Scope::BookingsRead];
    let all = join_all(
        (0..store::api_keys::KEYS_MAX + 5)
            .map(|_| store::api_keys::create(&ingress.pool, id, "x", &scopes, None)),
    );
    let made = all.await.into_iter().filter(|made| made.as_ref().unwrap().is_some()).count();
    assert_eq!(i64::try_from(made).unwrap(), store::api_keys::KEYS_MAX, "at once too");
    let full = make(&ingress, &token, &["bookings:read"]).await;
    assert_eq!(full.problem(), (409, "API_KEYS_FULL"));
    ingress.stop().await;
}
