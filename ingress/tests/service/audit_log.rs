//! Every change of an organiser is in the log, and stays there.

use std::collections::BTreeSet;

use contract::access::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::{
    organisers::Person,
    running::{Ingress, Programme, movie, screen, theatre},
};

async fn entries(ingress: &Ingress, token: &str, query: &str) -> Vec<Value> {
    let path = format!("/audit-log?limit=100&{query}");
    let answer = Answer::to(ingress.call(Method::GET, &path).bearer_auth(token)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["items"].as_array().unwrap().clone()
}

/// Makes each change that the API knows once, and sees its entry.
#[tokio::test]
async fn no_change_is_without_its_entry() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let clerk = Person::new(&ingress).await;
    let programme = Programme::make(&ingress, &admin).await;
    let film = ingress.post("/movies", &admin, &movie("Ember")).await.id("movieId");
    let hall = ingress.post("/screens", &admin, &screen(&programme.theatre)).await.id("screenId");
    let house = ingress.post("/theatres", &admin, &theatre("Plaza")).await.id("theatreId");
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let other = Programme { screen: hall.clone(), ..programme };
    let other_show = ingress.post("/shows", &admin, &other.show()).await.id("showId");
    let staff = json!({"email": clerk.email, "role": "check_in"});
    let calls = [
        ("POST", "/movies", String::new(), movie("New"), "movie.created"),
        ("PUT", "/movies/{id}", film.clone(), movie("Ash"), "movie.changed"),
        ("DELETE", "/movies/{id}", film, json!({}), "movie.retired"),
        ("POST", "/theatres", String::new(), theatre("New"), "theatre.created"),
        ("PUT", "/theatres/{id}", house.clone(), theatre("Old"), "theatre.changed"),
        ("POST", "/theatres/{id}/staff", house.clone(), staff, "staff.created"),
        (
            "DELETE",
            "/theatres/{id}/staff/{accountId}",
            format!("{house} {}", clerk.id),
            json!({}),
            "staff.removed",
        ),
        ("DELETE", "/theatres/{id}", house, json!({}), "theatre.retired"),
        ("POST", "/shows", String::new(), other_hours(&other), "show.created"),
        ("POST", "/shows/bulk", String::new(), one_evening(&other), "show.created"),
        ("PUT", "/shows/{id}", other_show.clone(), later(&other), "show.changed"),
        ("DELETE", "/shows/{id}", other_show, json!({}), "show.retired"),
        ("POST", "/shows/{id}/open", show.clone(), json!({}), "show.opened"),
        ("PATCH", "/shows/{id}/waiting-room", show.clone(), json!({"burst": 7}), "show.changed"),
        ("POST", "/shows/{id}/close", show, json!({}), "show.closed"),
        ("POST", "/screens", String::new(), screen(&other.theatre), "screen.created"),
        ("PUT", "/screens/{id}", hall.clone(), renamed(&other), "screen.changed"),
        ("DELETE", "/screens/{id}", "new screen".into(), json!({}), "screen.retired"),
    ];
    let mut known = BTreeSet::new();
    let mut last_made = String::new();
    for (method, path, ids, body, action) in calls {
        known.insert(format!("{method} {path}"));
        let ids = ids.replace("new screen", &last_made);
        let mut filled = path.to_owned();
        for (name, id) in ["{id}", "{accountId}"].into_iter().zip(ids.split(' ')) {
            filled = filled.replace(name, id);
        }
        let before = entries(&ingress, &admin, "").await.len();
        let call = ingress.call(method.parse().unwrap(), &filled).bearer_auth(&admin);
        let answer = Answer::to(call.json(&body)).await;
        assert!(answer.status.is_success(), "{method} {filled}: {answer:?}");
        if (method, path) == ("POST", "/screens") {
            last_made = answer.id("screenId");
        }
        let after = entries(&ingress, &admin, "").await;
        assert_eq!(after.len(), before + 1, "{method} {path}");
        let entry = &after[0];
        assert_eq!(
            (&entry["action"], &entry["via"]),
            (&json!(action), &json!("ingress")),
            "{path}"
        );
        assert!(entry["actor"].is_string() && entry["address"] == "127.0.0.1", "{entry}");
        assert_eq!(entry["requestId"], answer.headers["x-request-id"].to_str().unwrap(), "{path}");
    }
    let document = ingress.get("//openapi.json").await.body;
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"] == json!(["administration"]) && method != "get" {
                let path = path.trim_start_matches(contract::api::BASE);
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(known, described);
    ingress.stop().await;
}

fn other_hours(programme: &Programme) -> Value {
    let mut show = programme.show();
    show["startsAt"] = json!(in_hours(72));
    show
}

fn later(programme: &Programme) -> Value {
    let mut show = programme.show();
    show["startsAt"] = json!(in_hours(96));
    show
}

fn one_evening(programme: &Programme) -> Value {
    let day = in_hours(24 * 7).date_naive();
    json!({"show": programme.show(), "from": day, "until": day, "times": ["20:00"]})
}

fn in_hours(hours: u64) -> chrono::DateTime<chrono::Utc> {
    platform::clock::now() + std::time::Duration::from_hours(hours)
}

fn renamed(programme: &Programme) -> Value {
    let mut hall = screen(&programme.theatre);
    hall["name"] = json!("The big one");
    hall
}

#[tokio::test]
async fn an_entry_says_what_was_there_before_and_what_is_there_now() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let path = format!("/movies/{}", programme.movie);
    ingress.send(Method::PUT, &path, Some(&admin), &movie("Ash")).await;
    // The same again is no change.
    ingress.send(Method::PUT, &path, Some(&admin), &movie("Ash")).await;
    let of_movie = entries(&ingress, &admin, &format!("subject={}", programme.movie)).await;
    let actions: Vec<_> = of_movie.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["movie.changed", "movie.created"]);
    assert_eq!(of_movie[0]["before"], json!({"title": "Monsoon Express"}));
    assert_eq!(of_movie[0]["after"], json!({"title": "Ash"}));
    assert_eq!(of_movie[1]["before"], Value::Null);
    // A layout may be long: its digest stands for it.
    let hall = entries(&ingress, &admin, "action=screen").await;
    assert!(hall[0]["after"]["layout"].as_str().unwrap().starts_with("sha256:"), "{hall:?}");

    // Who was made an administrator, without a secret.
    let admins = entries(&ingress, &admin, "action=account").await;
    assert_eq!(admins[0]["action"], "account.created");
    assert_eq!((&admins[0]["after"]["role"], &admins[0]["actor"]), (&json!("admin"), &Value::Null));
    let told: Vec<_> = admins[0]["after"].as_object().unwrap().keys().collect();
    assert_eq!(told, ["account_id", "role"], "neither a secret nor a name");
    let person = testing::account(&ingress.pool, Role::User).await;
    store::accounts::set_role(&ingress.pool, person, Role::Admin).await.unwrap();
    let raised = entries(&ingress, &admin, &format!("subject={person}")).await;
    assert_eq!(raised.len(), 1);
    assert_eq!(raised[0]["before"], json!({"role": "user"}));
    assert_eq!(raised[0]["after"], json!({"role": "admin"}));
    ingress.stop().await;
}

#[tokio::test]
async fn entries_are_kept_as_they_are() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    ingress.post("/movies", &admin, &movie("Ember")).await;
    for sql in ["update audit_log set actor = null", "delete from audit_log", "truncate audit_log"]
    {
        let refused = sqlx::query(sql).execute(&ingress.pool).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(Into::into));
        assert_eq!(code, Some(String::from("23000")), "{sql}: {refused}");
    }
    // A change that is not committed has no entry.
    let refused = ingress.post("/shows", &admin, &json!({"movieId": "x"})).await;
    assert_eq!(refused.status, 400);
    assert_eq!(entries(&ingress, &admin, "action=show").await.len(), 0);
    ingress.stop().await;
}

#[tokio::test]
async fn an_organiser_reads_the_own_theatres_and_an_export_has_every_entry() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let mine = ingress.post("/theatres", &admin, &theatre("Regal")).await.id("theatreId");
    let other = ingress.post("/theatres", &admin, &theatre("Plaza")).await.id("theatreId");
    let me = Person::with_role(&ingress, &admin, &mine, "organiser").await;
    ingress.post("/screens", &me.token, &screen(&mine)).await;
    ingress.post("/screens", &admin, &screen(&other)).await;
    let own = entries(&ingress, &me.token, "").await;
    let actions: Vec<_> = own.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["screen.created", "staff.created", "theatre.created"]);
    assert!(own.iter().all(|entry| entry["theatreId"] == mine.as_str()));
    assert_eq!(entries(&ingress, &me.token, &format!("theatreId={other}")).await.len(), 0);
    assert_eq!(entries(&ingress, &admin, &format!("actor={}", me.id)).await.len(), 1);
    let since = own[1]["at"].as_str().unwrap();
    assert_eq!(entries(&ingress, &me.token, &format!("from={since}")).await.len(), 2);
    assert_eq!(entries(&ingress, &me.token, &format!("until={since}")).await.len(), 1);

    // More than an export reads at once.
    for n in 0..3 {
        let sql = "insert into movies (movie_id, title, description, genres, rating,
                       duration_minutes, release_date, language)
                   select gen_random_uuid(), 'Film ' || n, '', '{}', 'U', 90, '2026-01-01', 'Hindi'
                   from generate_series(1, 400 + $1::integer) as n";
        sqlx::query(sql).bind(n).execute(&ingress.pool).await.unwrap();
    }
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/audit-log?limit=100{cursor}");
        let page = Answer::to(ingress.call(Method::GET, &path).bearer_auth(&admin)).await.body;
        listed.extend(page["items"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(listed.len() > 1_203, "{}", listed.len());
    let export = ingress.call(Method::GET, "/audit-log?limit=1").bearer_auth(&admin);
    let export = export.header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    let text = export.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, listed);
    for (bad, pointer) in [("cursor=x", "cursor"), ("action=%00", "action"), ("x=1", "query")] {
        let call = ingress.call(Method::GET, &format!("/audit-log?{bad}")).bearer_auth(&admin);
        let refused = Answer::to(call).await;
        let found = (refused.problem(), refused.pointer());
        assert_eq!(found, ((400, "VALIDATION_FAILED"), pointer), "{bad}");
    }
    ingress.stop().await;
}
