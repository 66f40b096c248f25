use contract::{access::Role, api::problem::Code};
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;

use crate::running::{Ingress, Programme, movie, screen};

#[tokio::test]
async fn a_body_of_another_kind_is_refused_before_it_is_read() {
    let ingress = Ingress::start().await;
    let text = r#"{"email":"ann@example.org","password":"x"}"#;
    for kind in [None, Some("text/plain"), Some("application/json; charset=utf-16")] {
        let call = ingress.call(Method::POST, "/auth/login").body(text);
        let call = match kind {
            Some(kind) => call.header("content-type", kind),
            None => call,
        };
        assert_eq!(Answer::to(call).await.problem(), (415, "UNSUPPORTED_MEDIA_TYPE"), "{kind:?}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let ingress = Ingress::start().await;
    let deep = "[".repeat(10_000);
    let bodies: [&[u8]; 6] = [
        br#"{"email":"ann@example.org","pass"#,
        br#"{"email":"a","password":"b"} trailing"#,
        b"\xef\xbb\xbf{}",
        b"{\"email\":\"\xff\"}",
        b"",
        deep.as_bytes(),
    ];
    for body in bodies {
        let call = ingress.call(Method::POST, "/auth/login").body(body.to_vec());
        let refused = Answer::to(call.header("content-type", "application/json")).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(refused.problem().0, 400, "{shown}: {refused:?}");
    }
    let big = json!({"email": "x".repeat(20_000), "password": "y"});
    let refused = ingress.send(Method::POST, "/auth/login", None, &big).await;
    assert_eq!(refused.problem(), (413, "BODY_TOO_LARGE"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_refused_field_is_named() {
    let ingress = Ingress::start().await;
    let good = json!({"name": "Ann", "email": "ann@example.org", "password": "correct horse"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, pointer) in [
        (with("nick", json!("A")), "/nick"),
        (with("__proto__", json!({})), "/__proto__"),
        (with("name", json!(7)), "/name"),
        (with("name", json!("a\0b")), "/name"),
        (with("name", json!("x".repeat(101))), "/name"),
        (with("email", json!("nobody")), "/email"),
        (with("email", json!("ä@example.org\0")), "/email"),
        (with("password", json!("short")), "/password"),
        (with("phone", json!("call me")), "/phone"),
    ] {
        let refused = ingress.send(Method::POST, "/auth/signup", None, &body).await;
        assert_eq!(refused.problem(), (400, "VALIDATION_FAILED"), "{body}");
        assert_eq!(refused.pointer(), pointer, "{body}");
    }
    let odd = with("name", json!("Robert'); drop table accounts;--\u{202e}🎟"));
    assert_eq!(ingress.send(Method::POST, "/auth/signup", None, &odd).await.status, 201);
    ingress.stop().await;
}

#[tokio::test]
async fn a_catalogue_that_makes_no_sense_is_refused() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let seat = |id: &str, tier: &str| json!({"seatId": id, "tier": tier});
    let changed = |mut thing: Value, pointer: &str, value: Value| {
        match thing.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => thing[&pointer[1..]] = value,
        }
        thing
    };
    let screen = || screen(&programme.theatre);
    let show = || programme.show();
    let row = |seats: Vec<Value>| json!([{"row": "A", "seats": seats}]);
    let cases = [
        ("/movies", changed(movie("X"), "/durationMinutes", json!(0)), "/durationMinutes"),
        ("/movies", changed(movie("X"), "/genres/0", json!("")), "/genres/0"),
        ("/movies", changed(movie("X"), "/releaseDate", json!("+9999-01-01")), "/releaseDate"),
        ("/movies", changed(movie("X"), "/posterUrl", json!("javascript:x")), "/posterUrl"),
        ("/movies", changed(movie("X"), "/movieId", json!(programme.movie)), "/movieId"),
        ("/screens", changed(screen(), "/theatreId", json!(programme.movie)), "/theatreId"),
        (
            "/screens",
            changed(screen(), "/layout/rows/1/seats/0/seatId", json!("A1")),
            "/layout/rows/1/seats/0/seatId",
        ),
        (
            "/screens",
            changed(screen(), "/layout/rows/1/seats/0/tier", json!("FLOOR")),
            "/layout/rows/1/seats/0/tier",
        ),
        (
            "/screens",
            changed(screen(), "/layout/rows/1/seats/0/tier", json!("low")),
            "/layout/rows/1/seats/0/tier",
        ),
        (
            "/screens",
            changed(screen(), "/layout/rows/0/seats/0/seatId", json!("A 1")),
            "/layout/rows/0/seats/0/seatId",
        ),
        (
            "/screens",
            changed(screen(), "/tiers/1/tier", json!("STANDARD")),
            "/layout/rows/1/seats/2/tier",
        ),
        (
            "/screens",
            changed(screen(), "/layout/rows", row(vec![seat("A1", "STANDARD")])),
            "/tiers/1/tier",
        ),
        ("/screens", changed(screen(), "/tiers/2/capacity", json!(0)), "/tiers/2/capacity"),
        ("/shows", changed(show(), "/screenId", json!(programme.movie)), "/screenId"),
        ("/shows", changed(show(), "/prices", json!([])), "/prices"),
        ("/shows", changed(show(), "/prices/1/tier", json!("STANDARD")), "/prices/1/tier"),
        ("/shows", changed(show(), "/prices/1/tier", json!("BALCONY")), "/prices/1/tier"),
        ("/shows", changed(show(), "/prices/1/currency", json!("USD")), "/prices/1/currency"),
        ("/shows", changed(show(), "/prices/0/amount", json!(-1)), "/prices/0/amount"),
        ("/shows", changed(show(), "/maxSeatsPerUser", json!(21)), "/maxSeatsPerUser"),
        (
            "/shows",
            changed(show(), "/saleClosesAt", json!("2020-01-01T00:00:00Z")),
            "/saleClosesAt",
        ),
        ("/shows", changed(show(), "/startsAt", json!("+262000-01-01T00:00:00Z")), "/startsAt"),
        ("/shows", changed(show(), "/waitingRoom", json!({"burst": 0})), "/waitingRoom/burst"),
        ("/shows", changed(show(), "/waitingRoom", json!({"speed": 1})), "/waitingRoom/speed"),
    ];
    for (path, body, pointer) in cases {
        let refused = ingress.post(path, &admin, &body).await;
        assert_eq!(refused.problem(), (400, "VALIDATION_FAILED"), "{path} {pointer}: {refused:?}");
        assert_eq!(refused.pointer(), pointer, "{refused:?}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn ids_and_paths_that_lead_nowhere_get_a_problem() {
    let ingress = Ingress::start().await;
    let unknown = contract::ShowId::new();
    for (path, answer) in [
        ("/movies/42".into(), (400, "VALIDATION_FAILED")),
        ("/shows/%00/seatmap".into(), (400, "VALIDATION_FAILED")),
        ("/shows/%ff".into(), (400, "VALIDATION_FAILED")),
        (format!("/movies/{unknown}"), (404, "MOVIE_NOT_FOUND")),
        (format!("/movies/{unknown}/shows"), (404, "MOVIE_NOT_FOUND")),
        (format!("/movies/{unknown}/availability"), (404, "MOVIE_NOT_FOUND")),
        (format!("/theatres/{unknown}"), (404, "THEATRE_NOT_FOUND")),
        (format!("/screens/{unknown}"), (404, "SCREEN_NOT_FOUND")),
        (format!("/shows/{unknown}"), (404, "SHOW_NOT_FOUND")),
        (format!("/shows/{unknown}/seatmap"), (404, "SHOW_NOT_FOUND")),
        ("/nothing".into(), (404, "NOT_FOUND")),
        ("//nothing".into(), (404, "NOT_FOUND")),
    ] {
        assert_eq!(ingress.get(&path).await.problem(), answer, "{path}");
    }
    let refused = ingress.send(Method::PATCH, "/movies", None, &json!({})).await;
    assert_eq!(refused.problem(), (405, "METHOD_NOT_ALLOWED"));
    assert!(refused.headers.contains_key("allow"));
    ingress.stop().await;
}

#[tokio::test]
async fn the_form_of_a_call_counts_before_its_caller() {
    let ingress = Ingress::start().await;
    let id = contract::OrderId::new();
    let order = |email: &str, phone: &str| {
        let customer = json!({"name": "Ann", "email": email, "phone": phone});
        json!({"holdId": id, "customer": customer})
    };
    let show = json!({"showId": id, "tier": "A"});
    let (post, put, get) = (Method::POST, Method::PUT, Method::GET);
    for (method, path, body, field) in [
        (&post, "/bookings".to_owned(), show.clone(), "/seats"),
        (&post, "/holds".into(), show, "/seats"),
        (&post, "/orders".into(), order("ann@exa_mple.org", "1234"), "/customer/email"),
        (&post, "/orders".into(), order("ä@example.org", "1234"), "/customer/email"),
        (&post, "/orders".into(), order("ann@example.org", "call me"), "/customer/phone"),
        (&post, format!("/orders/{id}/confirm-payment"), json!({"method": "cash"}), "/method"),
        (&post, "/orders/x/confirm-payment".into(), json!({"method": "mock"}), "id"),
        (&post, "/orders/x/cancel".into(), Value::Null, "id"),
        (&put, "/auth/profile".into(), json!({"name": " ", "phone": null}), "/name"),
        (
            &put,
            "/auth/password".into(),
            json!({"password": "a", "newPassword": "b"}),
            "/newPassword",
        ),
        (&get, "/auth/bookings?limit=0".into(), Value::Null, "limit"),
        (&get, "/orders/x".into(), Value::Null, "id"),
    ] {
        let refused = ingress.send(method.clone(), &path, None, &body).await;
        assert_eq!(refused.problem(), (400, "VALIDATION_FAILED"), "{path}: {refused:?}");
        assert_eq!(refused.pointer(), field, "{path}: {refused:?}");
    }
    let ticket = ingress.call(get, &format!("/orders/{id}/ticket")).header("accept", "text/html");
    assert_eq!(Answer::to(ticket).await.problem(), (406, "NOT_ACCEPTABLE"));
    // Any address that an account can have; and the caller is the next to be looked at.
    let good = ingress.send(post, "/orders", None, &order("ann@localhost", "+1 (2) 3")).await;
    assert_eq!(good.problem(), (401, "UNAUTHENTICATED"));
    ingress.stop().await;
}

#[tokio::test]
async fn only_an_admin_changes_the_catalogue() {
    let ingress = Ingress::start().await;
    let user = ingress.token(Role::User).await;
    for (method, path) in [
        (Method::POST, "/movies".to_owned()),
        (Method::PUT, format!("/theatres/{}", contract::TheatreId::new())),
        (Method::DELETE, format!("/screens/{}", contract::ScreenId::new())),
        (Method::POST, format!("/shows/{}/open", contract::ShowId::new())),
        (Method::PATCH, format!("/shows/{}/waiting-room", contract::ShowId::new())),
    ] {
        let call =
            |token: Option<&'static str>| ingress.send(method.clone(), &path, token, &Value::Null);
        assert_eq!(call(None).await.problem(), (401, "UNAUTHENTICATED"), "{path}");
        assert_eq!(call(Some("forged")).await.problem(), (401, "UNAUTHENTICATED"), "{path}");
        let answer = ingress.send(method.clone(), &path, Some(&user), &Value::Null).await;
        assert_eq!(answer.problem(), (403, "FORBIDDEN"), "{path}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn every_call_that_is_described_is_there() {
    let ingress = Ingress::start().await;
    let document = ingress.get("//openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 25, "{} paths", paths.len());
    for (path, calls) in paths {
        let path = path.replace("{id}", "0").replace("{reference}", "0");
        for method in calls.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = Answer::to(ingress.call(method.clone(), &format!("/{path}"))).await;
            let missing = ["NOT_FOUND", "METHOD_NOT_ALLOWED"];
            let code = answer.body["code"].as_str().unwrap_or_default();
            assert!(!missing.contains(&code), "{method} {path}: {answer:?}");
            assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        }
    }
    let words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(words));
    let text = document.to_string();
    for part in text.split("\"$ref\":").skip(1) {
        let pointer = part.split('"').nth(1).unwrap().trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{pointer} is not described");
    }
    let page = ingress.call(Method::GET, "//docs").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers().contains_key("content-security-policy"));
    ingress.stop().await;
}
