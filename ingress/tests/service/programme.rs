//! Shows take their screens, and keep movies, theatres and screens on the lists.

use chrono::{DateTime, TimeDelta, Utc};
use contract::access::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::{Ingress, Programme, screen};

/// The film of a programme lasts this long.
const MINUTES: i64 = 128;

fn moved(show: &Value, minutes: i64) -> Value {
    let start: DateTime<Utc> = show["startsAt"].as_str().unwrap().parse().unwrap();
    let mut moved = show.clone();
    moved["startsAt"] = json!(start + TimeDelta::minutes(minutes));
    moved
}

#[tokio::test]
async fn two_shows_do_not_run_on_one_screen_at_once() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = programme.show();
    let first = ingress.post("/shows", &admin, &show).await.id("showId");
    for minutes in [0, 1, MINUTES - 1, 1 - MINUTES] {
        let refused = ingress.post("/shows", &admin, &moved(&show, minutes)).await;
        assert_eq!(refused.problem(), (409, "SHOW_OVERLAPS"), "{minutes}");
        assert_eq!(refused.body["overlaps"]["showId"], first.as_str(), "{refused:?}");
    }
    let allowed = ingress.post("/shows?overlap=allow", &admin, &show).await;
    assert_eq!(allowed.status, 201, "{allowed:?}");
    let path = format!("/shows/{}", allowed.id("showId"));
    let put = |body: Value| {
        let call = ingress.call(Method::PUT, &path).bearer_auth(&admin).json(&body);
        Answer::to(call)
    };
    assert_eq!(put(moved(&show, 5)).await.problem(), (409, "SHOW_OVERLAPS"));
    // It may not be in its own way.
    assert_eq!(put(moved(&show, MINUTES)).await.status, 200);
    assert_eq!(put(moved(&show, MINUTES + 1)).await.status, 200);
    let before = ingress.post("/shows", &admin, &moved(&show, -MINUTES)).await;
    assert_eq!(before.status, 201, "{before:?}");
    // Neither cancelled nor retired shows are in the way, nor those of other screens.
    let gone = format!("/shows/{first}");
    let gone = ingress.call(Method::DELETE, &gone).bearer_auth(&admin);
    assert_eq!(Answer::to(gone).await.status, 204);
    let again = ingress.post("/shows", &admin, &show).await;
    assert_eq!(again.status, 201, "{again:?}");
    let cancel = "update shows set sale_state = 'CANCELLED' where show_id = $1::uuid";
    let id: contract::ShowId = again.id("showId").parse().unwrap();
    sqlx::query(cancel).bind(id.0).execute(&ingress.pool).await.unwrap();
    assert_eq!(ingress.post("/shows", &admin, &show).await.status, 201);
    let other = ingress.post("/screens", &admin, &screen(&programme.theatre)).await.id("screenId");
    let elsewhere = Programme { screen: other, ..programme };
    assert_eq!(ingress.post("/shows", &admin, &elsewhere.show()).await.status, 201);
    let odd = ingress.post("/shows?overlap=perhaps", &admin, &show).await;
    assert_eq!(odd.problem(), (400, "VALIDATION_FAILED"));
    ingress.stop().await;
}

#[tokio::test]
async fn of_twenty_shows_entered_at_once_one_gets_the_screen() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = programme.show();
    let all = (0..20).map(|n| {
        let show = moved(&show, n);
        let (ingress, admin) = (&ingress, &admin);
        async move { ingress.post("/shows", admin, &show).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(all).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 19][..]));
    ingress.stop().await;
}

#[tokio::test]
async fn what_a_show_to_come_needs_stays_on_the_lists() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let things = [
        format!("/screens/{}", programme.screen),
        format!("/theatres/{}", programme.theatre),
        format!("/movies/{}", programme.movie),
    ];
    let delete = |path: &str| Answer::to(ingress.call(Method::DELETE, path).bearer_auth(&admin));
    for path in &things {
        let refused = delete(path).await;
        assert_eq!(refused.problem(), (409, "STILL_IN_USE"), "{path}");
        assert_eq!((&refused.body["shows"], &refused.body["first"]), (&json!(1), &json!(show)));
        assert_eq!(ingress.get(path).await.status, 200, "{path}");
    }
    // A show of the past needs nothing.
    let past = "update shows set starts_at = clock_timestamp() - interval '1 minute'";
    sqlx::query(past).execute(&ingress.pool).await.unwrap();
    for path in &things {
        assert_eq!(delete(path).await.status, 204, "{path}");
    }
    ingress.stop().await;
}

/// Whoever comes first: no show remains whose movie is gone.
#[tokio::test]
async fn a_movie_is_not_retired_under_a_show_that_is_being_entered() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    for _ in 0..10 {
        let programme = Programme::make(&ingress, &admin).await;
        let path = format!("/movies/{}", programme.movie);
        let (body, delete) =
            (programme.show(), ingress.call(Method::DELETE, &path).bearer_auth(&admin));
        let (made, retired) =
            tokio::join!(ingress.post("/shows", &admin, &body), Answer::to(delete));
        let outcome = (made.status.as_u16(), retired.status.as_u16());
        assert!([(201, 409), (400, 204)].contains(&outcome), "{made:?} {retired:?}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn prices_are_in_a_currency_that_people_pay_with() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let mut show = programme.show();
    show["prices"].as_array_mut().unwrap().truncate(1);
    // No code, a code for tests, none at all, gold, a fund, and special drawing rights.
    for bad in ["XXZ", "XTS", "XXX", "XAU", "CHE", "XDR", "inr", "", "INRR"] {
        show["prices"][0]["currency"] = json!(bad);
        let refused = ingress.post("/shows", &admin, &show).await;
        let found = (refused.problem(), refused.pointer());
        assert_eq!(found, ((400, "VALIDATION_FAILED"), "/prices/0/currency"), "{bad}");
    }
    for good in ["INR", "EUR", "JPY", "KWD", "XOF"] {
        show["prices"][0]["currency"] = json!(good);
        let made = ingress.post("/shows?overlap=allow", &admin, &show).await;
        assert_eq!(made.status, 201, "{good}: {made:?}");
    }
    ingress.stop().await;
}
