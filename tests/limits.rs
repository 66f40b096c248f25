//! Every route has a limit, which names itself in its answer, and no limit stops ordinary
//! customers.

use std::collections::BTreeSet;

use contract::{
    AccountId, ShowId, TicketId,
    access::Role,
    api::{catalogue::RoomMode, problem::Code},
    place_ticket::{Place, PlaceKeys},
};
use futures_util::{StreamExt as _, future::join_all, stream};
use platform::http::limits::Route;
use reqwest::Method;
use serde_json::json;

use crate::{
    bad_input::Refusal,
    harness::{Answer, Plan, System},
};

/// The lowest limits that can be set.
const NARROW: [&str; 4] = [
    "--auth-per-minute=1",
    "--reads-per-second=1",
    "--bookings-per-second=1",
    "--limit-joins-per-second=1",
];
/// More calls than any of these limits allows.
const CALLS_MAX: usize = 2_000;
/// Calls at the same time.
const AT_ONCE: usize = 20;

fn routes() -> impl Iterator<Item = Route> {
    let services = [ingress::ROUTES, waiting_room::ROUTES, notifier::ROUTES];
    services.into_iter().flatten().copied()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_that_is_described_has_a_code_of_this_status() {
    let document = System::start().await.get("/openapi.json", None).await.body;
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let responses = operations.flat_map(|operation| operation["responses"].as_object().unwrap());
    for (status, response) in responses.filter(|(status, _)| status.as_str() >= "400") {
        let text = response["description"].as_str().unwrap();
        let of_code = |c: char| c.is_ascii_uppercase() || c == '_';
        let words = text.split(|c| !of_code(c)).filter(|word| word.len() > 1);
        for word in words.clone() {
            let code = Code::ALL.iter().find(|code| code.as_str() == word);
            let code = code.unwrap_or_else(|| panic!("{word} in {text:?} is no code"));
            assert_eq!(code.status().as_str(), status, "{word}");
        }
        assert!(words.count() > 0, "{status} without a code: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_api_has_one_limit_and_every_limit_an_operation() {
    let document = System::start().await.get("/openapi.json", None).await.body;
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            let limits: Vec<_> = routes()
                .filter(|route| route.path == path && route.method == method)
                .map(|route| route.limit)
                .collect();
            assert_eq!(limits.len(), 1, "{method} {path}: {limits:?}");
            let refusal = &operation["responses"]["429"]["description"];
            let name = format!("`{}`", limits[0]);
            assert!(refusal.as_str().is_some_and(|text| text.contains(&name)), "{method} {path}");
            described.insert((method, path.clone()));
        }
    }
    let undescribed: Vec<_> = routes()
        .filter(|route| !described.contains(&(route.method.to_owned(), route.path.to_owned())))
        .map(|route| route.path)
        .collect();
    assert_eq!(undescribed, ["/openapi.json", "/docs"], "limits for what is not there");
}

/// Calls until a call is refused with 429; returns that answer.
async fn until_limited(
    system: &System,
    method: &str,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
) -> (usize, Answer) {
    let method: Method = method.parse().unwrap();
    let mut served = 0;
    while served < CALLS_MAX {
        let calls = (0..AT_ONCE).map(|_| system.call(method.clone(), path, token, headers, None));
        for answer in join_all(calls).await {
            if answer.status == 429 {
                return (served, answer);
            }
            assert!(!answer.status.is_server_error(), "{method} {path}: {answer:?}");
            served += 1;
        }
    }
    panic!("{method} {path} is not limited");
}

/// A place in the line of a show that does not exist.
fn place(account: AccountId) -> Place {
    Place {
        ticket: TicketId::new(),
        account,
        show: ShowId::new(),
        lane: 0,
        epoch: 0,
        number: 0,
        joined_at: platform::clock::now(),
        told: None,
        stretch: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_who_calls_too_often_by_the_name_of_its_limit() {
    let system = System::start_with_arguments(&NARROW).await;
    let places = PlaceKeys::new(&system.slot.master_key());
    for (n, Route { method, path, limit }) in routes().enumerate() {
        let id = uuid::Uuid::now_v7().to_string();
        let called = ["{id}", "{ticketId}", "{reference}"]
            .iter()
            .fold(path.to_owned(), |path, name| path.replace(name, &id));
        let (account, token) = system.account(Role::User).await;
        // A place ticket counts against the limit of places, not of guesses.
        let ticket = places.sign(&place(account));
        let address = format!("192.0.2.{n}");
        let headers = [("x-forwarded-for", address.as_str()), ("place-ticket", ticket.as_str())];
        let (_, refused) = until_limited(&system, method, &called, Some(&token), &headers).await;
        let refusal = Refusal::of(refused);
        assert_eq!(refusal.code(), "RATE_LIMITED", "{method} {path}");
        assert_eq!(refusal.body["limit"], limit, "{method} {path}: {:?}", refusal.body);
        let wait: u64 = refusal.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1, "{method} {path}");
        if method == "GET" {
            until_limited(&system, "HEAD", &called, Some(&token), &headers).await;
        }
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_behind_an_address_use_up_nothing_of_its_customers() {
    let system = System::start_with_arguments(&["--reads-per-second=5"]).await;
    let headers = [("x-forwarded-for", "192.0.2.1")];
    let path = "/api/v1/auth/profile";
    let (served, refused) = until_limited(&system, "GET", path, None, &headers).await;
    assert!(served + AT_ONCE >= 50, "401 for so many: {served}");
    assert_eq!(refused.body["limit"], "strangers");
    let (_, refused) = until_limited(&system, "GET", path, Some("no token"), &headers).await;
    assert_eq!(refused.body["limit"], "strangers", "a token that is none is no better");
    let customers = (0..60).map(async |_| {
        let token = system.visitor().await;
        for path in [path, "/api/v1/movies"] {
            let answer = system.call(Method::GET, path, Some(&token), &headers, None).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    });
    join_all(customers).await;
    system.stop().await;
}

/// Customers of one carrier, who share one address.
const CUSTOMERS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_customers_of_a_carrier_join_look_and_book_from_one_address() {
    let system = System::start().await;
    let lined = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let open = system.show(Plan::default()).await;
    let headers = [("x-forwarded-for", "192.0.2.1")];
    let visit = async || {
        let token = system.visitor().await;
        let call = async |method, path: &str, body| {
            let answer = system.call(method, path, Some(&token), &headers, body).await;
            assert_ne!(answer.status, 429, "{path}: {answer:?}");
            answer
        };
        call(Method::GET, &format!("/api/v1/shows/{lined}/seatmap"), None).await;
        let queue = format!("/api/v1/shows/{lined}/queue");
        let place = call(Method::POST, &queue, None).await;
        assert_eq!(place.status, 201, "{place:?}");
        let ticket = place.body["ticketId"].as_str().unwrap();
        for _ in 0..3 {
            call(Method::GET, &format!("{queue}/{ticket}"), None).await;
        }
        let body = json!({"showId": open, "tier": "STANDARD", "quantity": 1});
        call(Method::POST, "/api/v1/bookings", Some(body)).await;
        call(Method::GET, "/api/v1/auth/bookings", None).await;
    };
    let visits = stream::iter(0..CUSTOMERS).map(|_| visit());
    visits.buffer_unordered(AT_ONCE).collect::<()>().await;
    system.stop().await;
}
