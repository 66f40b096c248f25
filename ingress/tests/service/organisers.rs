//! Who may do what in which theatre.

use contract::{AccountId, access::Role};
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::{Ingress, Programme, movie, screen, theatre};

/// An account with its address and token.
pub(crate) struct Person {
    pub(crate) id: AccountId,
    pub(crate) email: String,
    pub(crate) token: String,
}

impl Person {
    pub(crate) async fn new(ingress: &Ingress) -> Self {
        let id = testing::account(&ingress.pool, Role::User).await;
        let known = store::accounts::credentials(&ingress.pool, id).await.unwrap().unwrap();
        Self { id, email: known.user.email, token: ingress.token_of(id, Role::User).await }
    }

    /// Somebody with this role in a theatre.
    pub(crate) async fn with_role(
        ingress: &Ingress,
        admin: &str,
        theatre: &str,
        role: &str,
    ) -> Self {
        let person = Self::new(ingress).await;
        let given = person.is_given(ingress, admin, theatre, role).await;
        assert_eq!(given.status, 201, "{given:?}");
        person
    }

    /// The answer to `by` who gives this person a role.
    async fn is_given(&self, ingress: &Ingress, by: &str, theatre: &str, role: &str) -> Answer {
        let member = json!({"email": self.email, "role": role});
        ingress.post(&format!("/theatres/{theatre}/staff"), by, &member).await
    }
}

async fn delete(ingress: &Ingress, token: &str, path: &str) -> Answer {
    Answer::to(ingress.call(Method::DELETE, path).bearer_auth(token)).await
}

async fn read(ingress: &Ingress, token: &str, path: &str) -> Answer {
    Answer::to(ingress.call(Method::GET, path).bearer_auth(token)).await
}

#[tokio::test]
async fn an_organiser_runs_a_theatre_and_no_other() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let mine = ingress.post("/theatres", &admin, &theatre("Regal")).await.id("theatreId");
    let other = Programme::make(&ingress, &admin).await;
    let others_show = ingress.post("/shows", &admin, &other.show()).await.id("showId");
    let me = Person::with_role(&ingress, &admin, &mine, "organiser").await;
    let token = &me.token;

    let film = ingress.post("/movies", token, &movie("Ember")).await.id("movieId");
    let hall = ingress.post("/screens", token, &screen(&mine)).await.id("screenId");
    let programme = Programme { movie: film.clone(), theatre: mine.clone(), screen: hall.clone() };
    let made = ingress.post("/shows", token, &programme.show()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let show = format!("/shows/{}", made.id("showId"));
    let put =
        async |path: &str, body: &Value| ingress.send(Method::PUT, path, Some(token), body).await;
    let pause = async |show: &str| {
        let path = format!("{show}/waiting-room");
        ingress.send(Method::PATCH, &path, Some(token), &json!({"paused": true})).await
    };
    for (path, body) in [
        (format!("/movies/{film}"), movie("Ember II")),
        (format!("/theatres/{mine}"), theatre("Plaza")),
        (format!("/screens/{hall}"), screen(&mine)),
        (show.clone(), programme.show()),
    ] {
        let changed = put(&path, &body).await;
        assert_eq!(changed.status, 200, "{path}: {changed:?}");
    }
    assert_eq!(pause(&show).await.status, 200);
    let opened = ingress.post(&format!("{show}/open"), token, &json!({})).await;
    assert!(opened.status.is_success(), "{opened:?}");
    assert_eq!(ingress.post(&format!("{show}/close"), token, &json!({})).await.status, 200);
    for path in [&show, &format!("/screens/{hall}"), &format!("/movies/{film}")] {
        assert_eq!(delete(&ingress, token, path).await.status, 204, "{path}");
    }

    // Of another theatre nothing, and a theatre not at all.
    let others = format!("/shows/{others_show}");
    let mut moved = programme.show();
    moved["theatreId"] = json!(other.theatre);
    let refused = [
        ingress.post("/theatres", token, &theatre("Mine")).await,
        delete(&ingress, token, &format!("/theatres/{mine}")).await,
        put(&format!("/theatres/{}", other.theatre), &theatre("Mine")).await,
        put(&format!("/movies/{}", other.movie), &movie("Mine")).await,
        delete(&ingress, token, &format!("/movies/{}", other.movie)).await,
        ingress.post("/screens", token, &screen(&other.theatre)).await,
        put(&format!("/screens/{}", other.screen), &screen(&other.theatre)).await,
        // Into the own theatre.
        put(&format!("/screens/{}", other.screen), &screen(&mine)).await,
        delete(&ingress, token, &format!("/screens/{}", other.screen)).await,
        ingress.post("/shows", token, &other.show()).await,
        ingress.post("/shows", token, &moved).await,
        put(&others, &other.show()).await,
        put(&others, &programme.show()).await,
        delete(&ingress, token, &others).await,
        ingress.post(&format!("{others}/open"), token, &json!({})).await,
        ingress.post(&format!("{others}/close"), token, &json!({})).await,
        pause(&others).await,
        read(&ingress, token, &format!("/theatres/{}/staff", other.theatre)).await,
        me.is_given(&ingress, token, &other.theatre, "check_in").await,
    ];
    for (n, answer) in refused.iter().enumerate() {
        assert_eq!(answer.problem(), (403, "FORBIDDEN"), "{n}");
    }
    // What is not there is not there for an organiser either.
    let nowhere = format!("/shows/{}", other.movie);
    assert_eq!(put(&nowhere, &programme.show()).await.problem(), (404, "SHOW_NOT_FOUND"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_role_that_is_taken_away_counts_no_more_at_once() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let mine = ingress.post("/theatres", &admin, &theatre("Regal")).await.id("theatreId");
    let me = Person::with_role(&ingress, &admin, &mine, "organiser").await;
    let own = read(&ingress, &me.token, "/auth/memberships").await.body;
    let expected = json!([{"theatreId": mine, "theatre": "Regal", "role": "organiser"}]);
    assert_eq!(own["items"], expected);
    let hall = screen(&mine);
    let add = || ingress.post("/screens", &me.token, &hall);
    assert_eq!(add().await.status, 201);
    let path = format!("/theatres/{mine}/staff/{}", me.id);
    assert_eq!(delete(&ingress, &admin, &path).await.status, 204);
    assert_eq!(add().await.problem(), (403, "FORBIDDEN"));
    assert_eq!(delete(&ingress, &admin, &path).await.problem(), (404, "ACCOUNT_NOT_FOUND"));
    assert_eq!(read(&ingress, &me.token, "/auth/memberships").await.body["items"], json!([]));
    ingress.stop().await;
}

#[tokio::test]
async fn admins_choose_organisers_and_organisers_the_others() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let mine = ingress.post("/theatres", &admin, &theatre("Regal")).await.id("theatreId");
    let me = Person::with_role(&ingress, &admin, &mine, "organiser").await;
    let second = Person::with_role(&ingress, &admin, &mine, "organiser").await;
    let clerk = Person::new(&ingress).await;
    for role in ["box_office", "check_in"] {
        let given = clerk.is_given(&ingress, &me.token, &mine, role).await;
        assert_eq!((given.status.as_u16(), &given.body["role"]), (201, &json!(role)));
    }
    // Neither up, nor another organiser down or out.
    for refused in [
        clerk.is_given(&ingress, &me.token, &mine, "organiser").await,
        second.is_given(&ingress, &me.token, &mine, "check_in").await,
        delete(&ingress, &me.token, &format!("/theatres/{mine}/staff/{}", second.id)).await,
        // Who works there, and a stranger, choose nobody and change nothing.
        clerk.is_given(&ingress, &clerk.token, &mine, "box_office").await,
        ingress.post("/screens", &clerk.token, &screen(&mine)).await,
        read(&ingress, &clerk.token, "/audit-log").await,
    ] {
        assert_eq!(refused.problem(), (403, "FORBIDDEN"));
    }
    let staff = read(&ingress, &me.token, &format!("/theatres/{mine}/staff")).await.body;
    let mut roles: Vec<_> =
        staff["items"].as_array().unwrap().iter().map(|one| one["role"].to_string()).collect();
    roles.sort();
    assert_eq!(roles, ["\"check_in\"", "\"organiser\"", "\"organiser\""]);
    let gone = format!("/theatres/{mine}/staff/{}", clerk.id);
    assert_eq!(delete(&ingress, &me.token, &gone).await.status, 204);

    let path = format!("/theatres/{mine}/staff");
    for (body, pointer) in [
        (json!({"email": "nobody@example.org", "role": "check_in"}), "/email"),
        (json!({"email": "a@b@c", "role": "check_in"}), "/email"),
        (json!({"email": clerk.email, "role": "king"}), "/role"),
    ] {
        let refused = ingress.post(&path, &admin, &body).await;
        assert_eq!((refused.problem(), refused.pointer()), ((400, "VALIDATION_FAILED"), pointer));
    }
    // The bound counts others alone: whoever is there may get another role.
    let crowd = "with made as (
                    insert into accounts (account_id, name, email, password_hash)
                    select gen_random_uuid(), 'x', gen_random_uuid() || '@x.example', '!'
                    from generate_series(1, 498) returning account_id)
                insert into staff select $1::uuid, account_id, 'check_in' from made";
    let id: contract::TheatreId = mine.parse().unwrap();
    sqlx::query(crowd).bind(id.0).execute(&ingress.pool).await.unwrap();
    let full = clerk.is_given(&ingress, &admin, &mine, "check_in").await;
    assert_eq!(full.problem(), (422, "LIMIT_EXCEEDED"));
    assert_eq!(second.is_given(&ingress, &admin, &mine, "box_office").await.status, 201);

    let nowhere = format!("/theatres/{}/staff", clerk.id);
    let member = json!({"email": clerk.email, "role": "check_in"});
    let refused = ingress.post(&nowhere, &admin, &member).await;
    assert_eq!(refused.problem(), (404, "THEATRE_NOT_FOUND"));
    ingress.stop().await;
}
