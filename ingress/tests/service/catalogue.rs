use std::time::{Duration, Instant};

use contract::access::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::{Ingress, Programme, movie, screen, theatre};

#[tokio::test]
async fn what_an_organiser_adds_is_what_visitors_find() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let made = ingress.post("/shows", &admin, &programme.show()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let show = made.id("showId");
    assert_eq!(made.headers["location"], format!("/api/v1/shows/{show}").as_str());
    assert_eq!(made.body["status"], "SCHEDULED");
    let available = json!([{"tier": "FLOOR", "seats": 50}, {"tier": "STANDARD", "seats": 3}]);
    assert_eq!(made.body["available"], available);
    assert_eq!(made.body["holdSeconds"], 600);
    assert_eq!(made.body["waitingRoom"]["ratePerSecond"], 100.0);

    assert_eq!(ingress.get(&format!("/shows/{show}")).await.body, made.body);
    assert_eq!(ingress.get("/shows/upcoming").await.body["items"], json!([made.body]));
    let found = ingress.get(&format!("/movies/{}", programme.movie)).await;
    assert_eq!(found.body["title"], "Monsoon Express");
    assert_eq!(found.body["shows"], json!([made.body]));
    let day = &made.id("startsAt")[..10];
    let days = ingress.get(&format!("/movies/{}/availability", programme.movie)).await;
    assert_eq!(days.body, json!({"dates": [day]}));
    let shows_of = |query: String| format!("/movies/{}/shows?{query}", programme.movie);
    let of_day = ingress.get(&shows_of(format!("date={day}"))).await;
    assert_eq!(of_day.body["items"], json!([made.body]));
    for none in ["date=2026-01-01".into(), format!("theatreId={}", programme.movie)] {
        assert_eq!(ingress.get(&shows_of(none)).await.body["items"], json!([]));
    }
    let theatre = ingress.get(&format!("/theatres/{}", programme.theatre)).await;
    assert_eq!(theatre.body["screens"][0]["screenId"], programme.screen.as_str());
    assert_eq!(ingress.get("/theatres").await.body["items"], json!([theatre.body]));
    assert_eq!(theatre.body["timeZone"], "UTC");
    let screen = ingress.get(&format!("/screens/{}", programme.screen)).await;
    assert_eq!(screen.body["tiers"][0]["capacity"], 3);
    ingress.stop().await;
}

#[tokio::test]
async fn a_seat_map_tells_layout_prices_and_what_is_not_for_sale() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let map = ingress.get(&format!("/shows/{show}/seatmap")).await;
    assert_eq!(map.status, 200);
    assert_eq!(map.body["showId"], show.as_str());
    let rows = map.body["layout"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[0]["seats"][2],
        json!({"seatId": "A2", "tier": "STANDARD", "kind": "wheelchair"})
    );
    // An aisle, a broken seat, and a tier without a price.
    assert_eq!(map.body["unavailableSeatIds"], json!(["A-", "B2", "B3"]));
    assert_eq!(map.body["heldSeatIds"], json!([]));
    assert_eq!(map.body["prices"][0]["tier"], "FLOOR");
    assert_eq!(map.body["version"], 0);

    hold_and_sell(&ingress, &show, "A1", "A2", "B1").await;
    let path = format!("/shows/{show}/seatmap");
    let changed =
        testing::eventually("the kept map is read again", Duration::from_secs(2), || async {
            let map = ingress.get(&path).await.body;
            (map["heldSeatIds"] == json!(["A1"])).then_some(map)
        });
    // The hold of B1 has lapsed and is not swept yet.
    assert_eq!(changed.await["unavailableSeatIds"], json!(["A-", "B2", "B3", "A2"]));
    ingress.stop().await;
}

#[tokio::test]
async fn what_a_caller_has_already_is_not_sent_again_and_long_answers_are_short() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let paths = [
        "/movies".to_owned(),
        format!("/theatres/{}", programme.theatre),
        format!("/screens/{}", programme.screen),
        format!("/shows/{show}"),
        format!("/shows/{show}/seatmap"),
    ];
    for path in paths {
        // Asked for first: what is kept of it must not be an answer without a body.
        let head = ingress.call(Method::HEAD, &path).send().await.unwrap();
        let first = ingress.get(&path).await;
        assert!(first.body.is_object(), "{path}");
        assert_eq!(
            (head.status(), &head.headers()["etag"]),
            (first.status, &first.headers["etag"])
        );
        assert_eq!(first.headers["cache-control"], "no-cache", "{path}");
        let asked_again = |tag: &str| {
            let again = ingress.call(Method::GET, &path).header("if-none-match", tag);
            async { again.send().await.unwrap() }
        };
        let tag = first.headers["etag"].to_str().unwrap();
        for known in [tag, &format!("\"x\", {tag}"), "*"] {
            let unchanged = asked_again(known).await;
            assert_eq!(unchanged.status(), 304, "{path}: {known}");
            assert_eq!(unchanged.headers()["etag"], tag);
            assert!(unchanged.bytes().await.unwrap().is_empty());
        }
        assert_eq!(asked_again("W/\"x\"").await.status(), 200, "{path}");
    }
    let mut long = movie("Long");
    long["description"] = json!("A train that is late. ".repeat(100));
    ingress.post("/movies", &admin, &long).await;
    let compressed = ingress.call(Method::GET, "/movies").header("accept-encoding", "gzip, br");
    let compressed = compressed.send().await.unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "br");
    assert_eq!(compressed.headers()["vary"], "accept-encoding");
    // A refusal is a problem as always, and has no tag.
    let unknown = ingress.get(&format!("/shows/{}/seatmap", programme.movie)).await;
    assert_eq!(unknown.problem(), (404, "SHOW_NOT_FOUND"));
    assert!(!unknown.headers.contains_key("etag"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_write_is_read_at_once_and_a_refused_one_costs_no_read() {
    let ingress = Ingress::start().await;
    let (admin, user) = (ingress.token(Role::Admin).await, ingress.token(Role::User).await);
    let id = ingress.post("/movies", &admin, &movie("Ember")).await.id("movieId");
    let path = format!("/movies/{id}");
    for title in ["Ember II", "Ember III"] {
        ingress.get(&path).await;
        let changed = ingress.send(Method::PUT, &path, Some(&admin), &movie(title)).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(ingress.get(&path).await.body["title"], title);
    }
    let titles = loop {
        let changed = ingress.send(Method::PUT, &path, Some(&admin), &movie("Ember IV")).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let began = Instant::now();
        ingress.get(&path).await;
        // Written behind the node's back, so that a second read would show it.
        sqlx::query("update movies set title = 'Ash'").execute(&ingress.pool).await.unwrap();
        let refused = ingress.send(Method::PUT, &path, Some(&user), &movie("Smoke")).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let wrong = ingress.call(Method::PATCH, "/movies").send().await.unwrap();
        assert_eq!(wrong.status(), 405);
        let mut titles = Vec::new();
        let upper = format!("/movies/{}", id.to_uppercase());
        for same in [format!("{path}?_=1"), upper, path.clone()] {
            titles.push(ingress.get(&same).await.body["title"].clone());
        }
        // An answer is fresh for 400 ms.
        if began.elapsed() < Duration::from_millis(400) {
            break titles;
        }
    };
    assert_eq!(titles, ["Ember IV"; 3]);
    ingress.stop().await;
}

/// Writes what an allocator would have written: a hold, a sold seat, and a lapsed hold.
async fn hold_and_sell(ingress: &Ingress, show: &str, held: &str, sold: &str, lapsed: &str) {
    for (seat, claim, state, lapses) in [
        (held, "HELD", "HELD", "1 hour"),
        (sold, "SOLD", "CONFIRMED", "1 hour"),
        (lapsed, "HELD", "HELD", "-1 second"),
    ] {
        sqlx::query(
            "with booking as (
                 insert into bookings (show_id, booking_id, account_id, tier, kind, status,
                     seat_ids, state, expires_at)
                 values ($1::uuid, gen_random_uuid(), gen_random_uuid(), 'STANDARD', 'HOLD',
                     'ALLOCATED', array[$2], $4::booking_state,
                     clock_timestamp() + $5::interval)
                 returning show_id, booking_id)
             insert into seat_claims (show_id, seat_id, booking_id, state)
             select show_id, $2, booking_id, $3::claim_state from booking",
        )
        .bind(show.parse::<contract::ShowId>().unwrap().0)
        .bind(seat)
        .bind(claim)
        .bind(state)
        .bind(lapses)
        .execute(&ingress.pool)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_can_be_searched() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    for title in ["Ember", "100% Love", "Dune Song", "ábaco", "Car_nage"] {
        assert_eq!(ingress.post("/movies", &admin, &movie(title)).await.status, 201);
    }
    let mut titles = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ingress.get(&format!("/movies?limit=2{cursor}")).await.body;
        let items = page["items"].as_array().unwrap();
        titles.extend(items.iter().map(|movie| movie["title"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(titles, ["100% Love", "Car_nage", "Dune Song", "Ember", "ábaco"]);
    for (query, found) in [
        ("q=dune", vec!["Dune Song"]),
        ("q=%25", vec!["100% Love"]),
        ("q=_", vec!["Car_nage"]),
        ("q=%5C", vec![]),
        ("q=e&genre=drama&limit=1", vec!["Ember"]),
        ("genre=Western", vec![]),
    ] {
        let page = ingress.get(&format!("/movies?{query}")).await.body;
        let titles = page["items"].as_array().unwrap().iter().map(|movie| &movie["title"]);
        assert_eq!(titles.collect::<Vec<&Value>>(), found, "{query}");
    }
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=bm8", "q=%00", "Q=x"] {
        let refused = ingress.get(&format!("/movies?{bad}")).await;
        assert_eq!(refused.problem(), (400, "VALIDATION_FAILED"), "{bad}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn what_is_changed_is_changed_and_what_is_retired_is_gone() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let mut changed = programme.show();
    changed["prices"] = json!([{"tier": "RECLINER", "amount": 90_000, "currency": "INR"}]);
    let path = format!("/shows/{show}");
    let answer = ingress.send(Method::PUT, &path, Some(&admin), &changed).await;
    assert_eq!(answer.body["available"], json!([{"tier": "RECLINER", "seats": 1}]), "{answer:?}");
    assert_eq!(ingress.get(&path).await.body, answer.body);

    let renamed = json!({"name": "Regal", "address": "2 Marine Drive", "city": "Mumbai",
        "latitude": 18.94, "longitude": 72.82});
    let things = [
        (path, programme.show(), "SHOW_NOT_FOUND"),
        (format!("/screens/{}", programme.screen), screen(&programme.theatre), "SCREEN_NOT_FOUND"),
        (format!("/theatres/{}", programme.theatre), renamed, "THEATRE_NOT_FOUND"),
        (format!("/movies/{}", programme.movie), movie("Monsoon"), "MOVIE_NOT_FOUND"),
    ];
    for (path, body, code) in things {
        let put = ingress.send(Method::PUT, &path, Some(&admin), &body).await;
        assert_eq!(put.status, 200, "{path}: {put:?}");
        let delete = || Answer::to(ingress.call(Method::DELETE, &path).bearer_auth(&admin));
        assert_eq!(delete().await.status, 204, "{path}");
        assert_eq!(delete().await.problem(), (404, code));
        assert_eq!(ingress.get(&path).await.problem(), (404, code));
        let put = ingress.send(Method::PUT, &path, Some(&admin), &body).await;
        assert!([(404, code), (400, "VALIDATION_FAILED")].contains(&put.problem()), "{put:?}");
    }
    let refused = ingress.post("/shows", &admin, &programme.show()).await;
    assert_eq!((refused.problem(), refused.pointer()), ((400, "VALIDATION_FAILED"), "/movieId"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_layout_that_is_sold_does_not_change() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    ingress.post("/shows", &admin, &programme.show()).await;
    let path = format!("/screens/{}", programme.screen);
    let mut changed = screen(&programme.theatre);
    changed["name"] = json!("The big one");
    let renamed = ingress.send(Method::PUT, &path, Some(&admin), &changed).await;
    assert_eq!(renamed.body["name"], "The big one", "{renamed:?}");
    changed["layout"]["rows"][0]["seats"][0]["seatId"] = json!("Z9");
    let refused = ingress.send(Method::PUT, &path, Some(&admin), &changed).await;
    assert_eq!(refused.problem(), (409, "SCREEN_IN_USE"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_keyed_write_is_done_once() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let add = |key: &'static str, name: &'static str| {
        let call = ingress.call(Method::POST, "/theatres").bearer_auth(&admin);
        Answer::to(call.header("Idempotency-Key", key).json(&theatre(name)))
    };
    let (first, second, third) =
        tokio::join!(add("k1", "Regal"), add("k1", "Regal"), add("k1", "Regal"));
    assert_eq!(first.status, 201);
    for repeated in [second, third] {
        assert_eq!(repeated.status, 201);
        assert_eq!(repeated.body, first.body);
        assert_eq!(repeated.headers["location"], first.headers["location"]);
    }
    assert_eq!(add("k1", "Plaza").await.problem(), (422, "IDEMPOTENCY_KEY_REUSED"));
    assert_ne!(add("k2", "Regal").await.body, first.body);
    let theatres = ingress.get("/theatres").await.body;
    assert_eq!(theatres["items"].as_array().unwrap().len(), 2);
    for bad in ["", "a b", &"x".repeat(65)] {
        let call = ingress.call(Method::POST, "/theatres").bearer_auth(&admin);
        let refused = Answer::to(call.header("Idempotency-Key", bad).json(&theatre("Regal"))).await;
        assert_eq!(refused.problem(), (400, "VALIDATION_FAILED"), "{bad}");
    }
    ingress.stop().await;
}
