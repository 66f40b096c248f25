use contract::access::Role;
use reqwest::Method;
use serde_json::{Value, json};
use store::sessions::{Device, Start};
use testing::Answer;

use crate::running::Ingress;

async fn sign_up(ingress: &Ingress) -> Answer {
    let signup = json!({"name": "Ann", "email": "ann@example.org", "password": "correct horse"});
    let made = ingress.send(Method::POST, "/auth/signup", None, &signup).await;
    assert_eq!(made.status, 201, "{made:?}");
    made
}

async fn refresh(ingress: &Ingress, token: &str) -> Answer {
    let body = json!({"refreshToken": token});
    ingress.send(Method::POST, "/auth/refresh", None, &body).await
}

/// Makes the last refresh of every session so old that its answer cannot be under way any more.
async fn let_it_be_a_minute_later(ingress: &Ingress) {
    sqlx_execute(ingress, "update sessions set turned_at = turned_at - interval '1 minute'").await;
}

async fn sqlx_execute(ingress: &Ingress, sql: &'static str) {
    sqlx::query(sql).execute(&ingress.pool).await.unwrap();
}

fn an_hour() -> Start {
    Start { device: Device::default(), lifetime: std::time::Duration::from_hours(1) }
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_whoever_comes_with_an_old_one_ends_the_session() {
    let ingress = Ingress::start().await;
    let first = sign_up(&ingress).await.id("refreshToken");
    let next = refresh(&ingress, &first).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_eq!(next.body["user"]["email"], "ann@example.org");
    let profile = ingress.call(Method::GET, "/auth/profile").bearer_auth(next.id("accessToken"));
    assert_eq!(Answer::to(profile).await.status, 200);
    let second = next.id("refreshToken");
    assert_ne!(first, second);
    let lost = refresh(&ingress, &first).await;
    assert_eq!(lost.id("refreshToken"), second, "the answer was lost: the same once more");
    let_it_be_a_minute_later(&ingress).await;
    assert_eq!(refresh(&ingress, &first).await.problem(), (401, "SESSION_ENDED"));
    assert_eq!(refresh(&ingress, &second).await.problem(), (401, "SESSION_ENDED"), "stolen");
    assert_eq!(refresh(&ingress, "x").await.problem(), (401, "SESSION_ENDED"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_a_log_out_and_at_its_own_time() {
    let ingress = Ingress::start().await;
    let token = sign_up(&ingress).await.id("refreshToken");
    let login = json!({"email": "ann@example.org", "password": "correct horse"});
    let other = ingress.send(Method::POST, "/auth/login", None, &login).await.id("refreshToken");
    for _ in 0..2 {
        let body = json!({"refreshToken": token});
        let out = ingress.send(Method::POST, "/auth/logout", None, &body).await;
        assert_eq!(out.status, 204, "as often as you like: {out:?}");
    }
    assert_eq!(refresh(&ingress, &token).await.problem(), (401, "SESSION_ENDED"));
    let other = refresh(&ingress, &other).await;
    assert_eq!(other.status, 200, "another device");
    sqlx_execute(&ingress, "update sessions set expires_at = clock_timestamp()").await;
    let late = refresh(&ingress, &other.id("refreshToken")).await;
    assert_eq!(late.problem(), (401, "SESSION_ENDED"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_new_password_needs_the_present_one_and_ends_every_other_session() {
    let ingress = Ingress::start().await;
    let made = sign_up(&ingress).await;
    let (access, old) = (made.id("accessToken"), made.id("refreshToken"));
    let change = |present: &str| json!({"password": present, "newPassword": "battery staple"});
    let put =
        async |body: &Value| ingress.send(Method::PUT, "/auth/password", Some(&access), body).await;
    assert_eq!(put(&change("a guess")).await.problem(), (401, "BAD_CREDENTIALS"));
    let short = put(&json!({"password": "correct horse", "newPassword": "short"})).await;
    assert_eq!((short.problem(), short.pointer()), ((400, "VALIDATION_FAILED"), "/newPassword"));
    let changed = put(&change("correct horse")).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(refresh(&ingress, &old).await.problem(), (401, "SESSION_ENDED"));
    assert_eq!(refresh(&ingress, &changed.id("refreshToken")).await.status, 200);
    for (password, status) in [("correct horse", 401), ("battery staple", 200)] {
        let login = json!({"email": "ann@example.org", "password": password});
        let entered = ingress.send(Method::POST, "/auth/login", None, &login).await;
        assert_eq!(entered.status, status, "{password}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn a_session_that_began_with_the_old_password_while_it_was_changed_is_over() {
    let ingress = Ingress::start().await;
    sign_up(&ingress).await;
    let known = store::accounts::by_email(&ingress.pool, "ann@example.org").await.unwrap().unwrap();
    assert!(store::accounts::end_tokens(&ingress.pool, known.user.user_id).await.unwrap());
    let hour = an_hour();
    let late = store::sessions::begin(&ingress.pool, known, &hour).await.unwrap();
    let turn = contract::refresh::RefreshTurn { session: late.id, number: 0 };
    let refreshed =
        store::sessions::refresh(&ingress.pool, turn, &Device::default()).await.unwrap();
    assert!(matches!(refreshed, store::sessions::Refreshed::Over));
    ingress.stop().await;
}

#[tokio::test]
async fn an_account_has_so_many_sessions_and_the_oldest_gives_way() {
    let ingress = Ingress::start().await;
    let first = sign_up(&ingress).await.id("refreshToken");
    let known = || async {
        store::accounts::by_email(&ingress.pool, "ann@example.org").await.unwrap().unwrap()
    };
    let hour = an_hour();
    for _ in 0..store::sessions::SESSIONS_MAX + 5 {
        store::sessions::begin(&ingress.pool, known().await, &hour).await.unwrap();
    }
    let count: i64 =
        sqlx::query_scalar("select count(*) from sessions").fetch_one(&ingress.pool).await.unwrap();
    assert_eq!(count, store::sessions::SESSIONS_MAX);
    assert_eq!(refresh(&ingress, &first).await.problem(), (401, "SESSION_ENDED"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_one_time_link_sets_a_password_once() {
    let ingress = Ingress::start().await;
    let old = sign_up(&ingress).await.id("refreshToken");
    let known = store::accounts::by_email(&ingress.pool, "ann@example.org").await.unwrap().unwrap();
    let (token, hour) = ("l".repeat(43), std::time::Duration::from_hours(1));
    store::password_links::make(&ingress.pool, known.user.user_id, &token, hour).await.unwrap();
    let reset = async |token: &str| {
        let body = json!({"token": token, "password": "battery staple"});
        ingress.send(Method::POST, "/auth/password-reset", None, &body).await
    };
    for bad in ["", "x", &"m".repeat(43)] {
        assert_eq!(reset(bad).await.problem(), (401, "RESET_TOKEN_INVALID"), "{bad}");
    }
    let done = reset(&token).await;
    assert_eq!(done.status, 204, "{done:?}");
    assert_eq!(reset(&token).await.problem(), (401, "RESET_TOKEN_INVALID"), "used");
    assert_eq!(refresh(&ingress, &old).await.problem(), (401, "SESSION_ENDED"));
    let login = json!({"email": "ann@example.org", "password": "battery staple"});
    assert_eq!(ingress.send(Method::POST, "/auth/login", None, &login).await.status, 200);
    store::password_links::make(&ingress.pool, known.user.user_id, &token, hour).await.unwrap();
    sqlx_execute(&ingress, "update password_links set expires_at = clock_timestamp()").await;
    assert_eq!(reset(&token).await.problem(), (401, "RESET_TOKEN_INVALID"), "over");
    ingress.stop().await;
}

#[tokio::test]
async fn a_demoted_admin_and_a_deleted_account_are_refused_whoever_changed_the_row() {
    let ingress = Ingress::start().await;
    let demoted = ingress.token(Role::Admin).await;
    let movie = crate::running::movie("Monsoon Express");
    assert_eq!(ingress.post("/movies", &demoted, &movie).await.status, 201);
    let second = std::time::Duration::from_secs(10);
    for sql in [
        "update accounts set role = 'user' where role = 'admin'",
        "delete from accounts where role = 'admin'",
    ] {
        let token = ingress.token(Role::Admin).await;
        sqlx_execute(&ingress, sql).await;
        testing::eventually("its token is refused", second, async || {
            let answer = ingress.post("/movies", &token, &movie).await;
            (answer.status == 401).then_some(())
        })
        .await;
    }
    assert_eq!(ingress.post("/movies", &demoted, &movie).await.problem().0, 401);
    ingress.stop().await;
}
