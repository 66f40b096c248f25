//! Joining a line, asking for a place, leaving.

use std::{collections::BTreeSet, num::NonZeroU32};

use aws_lc_rs::digest;
use contract::{
    AccountId, ShowId, TicketId,
    api::{catalogue::RoomMode, line::PlaceState},
};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use testing::eventually;
use waiting_room::ChallengeKind;

use crate::harness::{Plan, SOON, Stage, Visitor};

#[tokio::test]
async fn an_account_has_one_place_however_often_and_wherever_it_asks() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let token = stage.token(AccountId::new());
    let answers = join_all((0..8).map(|turn| stage.post_queue(turn % 2, show, &token))).await;
    let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(created, 1);
    let tickets: BTreeSet<_> = answers.iter().map(|answer| answer.place().ticket_id).collect();
    assert_eq!(tickets.len(), 1);

    let place = stage.post_queue(1, show, &token).await.place();
    assert_eq!((place.position, place.ahead, place.waiting), (Some(1), Some(0), 1));
    assert_eq!(place.state, PlaceState::Waiting);
    assert_eq!(place.eta_seconds, None, "paused");
    assert_eq!(place.live_url, format!("/api/v1/shows/{show}/queue/{}/live", place.ticket_id));
}

#[tokio::test]
async fn positions_are_exact_and_leaving_frees_those_behind() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = Vec::new();
    for turn in 0..6 {
        visitors.push(stage.join(turn % 2, show).await);
    }
    for (turn, visitor) in visitors.iter().enumerate() {
        let place = stage.look((turn + 1) % 2, visitor).await;
        assert_eq!(place.position, Some(turn as u64 + 1));
        assert_eq!(place.waiting, 6);
    }
    assert_eq!(stage.leave(0, &visitors[1]).await, StatusCode::NO_CONTENT);
    assert_eq!(stage.leave(1, &visitors[1]).await, StatusCode::NO_CONTENT, "twice is once");
    assert_eq!(stage.look(1, &visitors[1]).await.state, PlaceState::Left);
    for (visitor, position) in [(0, 1), (2, 2), (5, 5)] {
        let place = stage.look(1, &visitors[visitor]).await;
        assert_eq!((place.position, place.waiting), (Some(position), 5));
    }
    let again = stage.post_queue(0, show, &visitors[1].token).await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert_ne!(again.place().ticket_id, visitors[1].ticket);
    assert_eq!(again.place().position, Some(6), "a freed place does not come back");
}

#[tokio::test]
async fn the_wrong_moment_is_told() {
    let stage = Stage::new(1).await;
    let token = stage.token(AccountId::new());
    for (plan, code) in [
        (Plan { opens_in: 7200, closes_in: 9000, ..Plan::default() }, "SALE_NOT_OPEN"),
        (Plan { opens_in: -60, closes_in: -1, ..Plan::default() }, "SALE_CLOSED"),
        (Plan { mode: RoomMode::Reject, ..Plan::default() }, "ROOM_CLOSED"),
    ] {
        let show = stage.show(plan).await;
        let answer = stage.post_queue(0, show, &token).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, code));
        // The line can be joined an hour before the opening, and Retry-After says so.
        let wait = answer.headers.get("retry-after").map(|wait| wait.to_str().unwrap().parse());
        let is_told =
            wait.is_some_and(|wait: Result<u32, _>| (3590..=3610).contains(&wait.unwrap()));
        assert_eq!(is_told, code == "SALE_NOT_OPEN", "{:?}", answer.headers);
    }
    let early = stage.show(Plan { opens_in: 600, ..Plan::default() }).await;
    let answer = stage.post_queue(0, early, &token).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.place().state, PlaceState::Waiting, "first come, first served");
    assert!(answer.place().eta_seconds.unwrap().low >= 590);

    let off = stage.show(Plan { mode: RoomMode::Off, ..Plan::default() }).await;
    let place = stage.post_queue(0, off, &token).await.place();
    assert_eq!((place.state, place.pass, place.position), (PlaceState::Admitted, None, None));

    let nowhere = stage.post_queue(0, ShowId::new(), &token).await;
    assert_eq!((nowhere.status, nowhere.code()), (StatusCode::NOT_FOUND, "SHOW_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let token = stage.token(AccountId::new());
    let path = format!("/shows/{show}/queue");
    let anonymous = stage.call(0, Method::POST, &path, None, None).await;
    assert_eq!((anonymous.status.as_u16(), anonymous.code()), (401, "UNAUTHENTICATED"));
    let no_id = stage.call(0, Method::POST, "/shows/7/queue", Some(&token), None).await;
    assert_eq!((no_id.status.as_u16(), no_id.code()), (400, "VALIDATION_FAILED"));
    for (body, code) in [
        ("{\"place\": 1}", "VALIDATION_FAILED"),
        ("{\"placeTicket\": 7}", "VALIDATION_FAILED"),
        ("{", "MALFORMED_JSON"),
        ("{} {}", "MALFORMED_JSON"),
    ] {
        let answer = stage.call(0, Method::POST, &path, Some(&token), Some(body)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{body}");
    }
    let empty = stage.call(0, Method::POST, &path, Some(&token), Some("{}")).await;
    assert_eq!(empty.status, StatusCode::CREATED);
}

#[tokio::test]
async fn nobody_sees_or_ends_the_place_of_another() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let (mine, other) = (stage.join(0, show).await, stage.join(0, show).await);
    let path = format!("/shows/{show}/queue/{}", mine.ticket);
    let with = |token| stage.call(0, Method::GET, &path, token, None);
    assert_eq!(with(Some(&*mine.token)).await.status, StatusCode::OK);
    assert_eq!(with(Some(&*other.token)).await.code(), "PLACE_NOT_FOUND");
    assert_eq!(with(None).await.code(), "UNAUTHENTICATED");
    let ask = async |method: Method, ticket: TicketId, proof: &str| {
        let path = format!("/shows/{show}/queue/{ticket}?placeTicket={proof}");
        let answer = stage.call(0, method, &path, None, None).await;
        (answer.status.as_u16(), answer.code().to_owned())
    };
    let not_found = (404, "PLACE_NOT_FOUND".to_owned());
    let invalid = (401, "PLACE_TICKET_INVALID".to_owned());
    assert_eq!(ask(Method::GET, mine.ticket, &other.place_ticket).await, not_found);
    assert_eq!(ask(Method::DELETE, mine.ticket, &other.place_ticket).await, not_found);
    assert_eq!(ask(Method::GET, TicketId::new(), &mine.place_ticket).await, not_found);
    let mut forged = mine.place_ticket.clone();
    forged.replace_range(60..62, if &forged[60..62] == "AA" { "BB" } else { "AA" });
    assert_eq!(ask(Method::GET, mine.ticket, &forged).await, invalid);
    assert_eq!(ask(Method::GET, mine.ticket, "nonsense").await, invalid);
    let elsewhere = stage.show(Plan::default()).await;
    let path =
        format!("/shows/{elsewhere}/queue/{}?placeTicket={}", mine.ticket, mine.place_ticket);
    assert_eq!(stage.call(0, Method::GET, &path, None, None).await.status.as_u16(), 401);
    let stolen = format!("{{\"placeTicket\": \"{}\"}}", mine.place_ticket);
    let path = format!("/shows/{show}/queue");
    let answer = stage.call(0, Method::POST, &path, Some(&other.token), Some(&stolen)).await;
    assert_eq!(answer.code(), "PLACE_TICKET_INVALID");
    assert_eq!(stage.look(0, &mine).await.position, Some(1));
}

#[tokio::test]
async fn a_lottery_draws_those_who_came_before_the_opening() {
    let stage = Stage::new(2).await;
    let plan = Plan { mode: RoomMode::Lottery, opens_in: 600, ..Plan::default() };
    let show = stage.show(plan).await;
    let mut visitors = Vec::new();
    for turn in 0..20 {
        let visitor = stage.join(turn % 2, show).await;
        let place = stage.look(0, &visitor).await;
        assert_eq!((place.state, place.position), (PlaceState::Prequeue, None));
        assert_eq!(place.eta_seconds, None);
        visitors.push(visitor);
    }
    stage.set(show, "sale_opens_at = clock_timestamp()").await;
    let mut positions = Vec::new();
    for visitor in &visitors {
        let place = stage.until(0, visitor, PlaceState::Waiting).await;
        positions.push(place.position.unwrap());
    }
    let mut sorted = positions.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=20).collect::<Vec<_>>(), "everybody has a place of their own");
    assert_ne!(positions, sorted, "not in the order of joining");
    eventually("the other node has opened too", SOON, || async {
        (stage.look(1, &visitors[0]).await.state == PlaceState::Waiting).then_some(())
    })
    .await;
    let late = stage.join(1, show).await;
    assert_eq!(stage.look(1, &late).await.position, Some(21));
}

#[tokio::test]
async fn an_address_that_joins_too_often_must_wait() {
    let stage =
        Stage::with(1, |line| line.limit_joins_per_second = NonZeroU32::new(1).unwrap()).await;
    let show = stage.show(Plan::default()).await;
    for _ in 0..5 {
        stage.join(0, show).await;
    }
    let refused = eventually("a refusal", SOON, || async {
        let answer = stage.post_queue(0, show, &stage.token(AccountId::new())).await;
        (answer.status == StatusCode::TOO_MANY_REQUESTS).then_some(answer)
    })
    .await;
    assert_eq!(refused.code(), "RATE_LIMITED");
    for header in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(refused.headers.contains_key(header), "{header}");
    }
}

/// Finds the number that a proof of work asks for.
fn solve(challenge: &Value) -> String {
    let (text, bits) = (challenge["challenge"].as_str().unwrap(), challenge["bits"].as_u64());
    let is_solved = |attempt: &String| {
        let hash = digest::digest(&digest::SHA256, attempt.as_bytes());
        let head = u64::from_be_bytes(hash.as_ref()[..8].try_into().unwrap());
        u64::from(head.leading_zeros()) >= bits.unwrap()
    };
    (0..10_000_000u64).map(|number| format!("{text}.{number}")).find(is_solved).unwrap()
}

#[tokio::test]
async fn where_challenges_are_on_a_new_place_costs_some_work_once() {
    let stage = Stage::with(2, |line| line.challenge = ChallengeKind::ProofOfWork).await;
    let show = stage.show(Plan::default()).await;
    let account = AccountId::new();
    let token = stage.token(account);
    let refused = stage.post_queue(0, show, &token).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "CHALLENGE_REQUIRED"));
    let challenge = &refused.body["challenge"];
    assert_eq!(challenge["kind"], "proof-of-work");
    let solution = solve(challenge);
    let other = stage.token(AccountId::new());
    assert_eq!(stage.join_with(0, show, &other, &solution).await.code(), "CHALLENGE_REQUIRED");
    let joined = stage.join_with(1, show, &token, &solution).await;
    assert_eq!(joined.status, StatusCode::CREATED, "{}", joined.body);
    let again = stage.post_queue(0, show, &token).await;
    assert_eq!(again.place().ticket_id, joined.place().ticket_id, "who has a place needs none");
    let visitor = Visitor {
        show,
        account,
        ticket: joined.place().ticket_id,
        place_ticket: joined.place().place_ticket,
        token: token.clone(),
    };
    stage.leave(0, &visitor).await;
    let replayed = stage.join_with(0, show, &token, &solution).await;
    assert_eq!(replayed.code(), "CHALLENGE_REQUIRED", "once is enough");
    let ended = format!("{{\"placeTicket\": \"{}\"}}", visitor.place_ticket);
    let path = format!("/shows/{show}/queue");
    let again = stage.call(1, Method::POST, &path, Some(&token), Some(&ended)).await;
    assert_eq!(again.code(), "CHALLENGE_REQUIRED", "the ticket of an ended place is no proof");
    // The ticket of a place is a proof: the account gets its place again after a loss.
    let solution = solve(&replayed.body["challenge"]);
    let place = stage.join_with(0, show, &token, &solution).await.place();
    stage.lose(show).await;
    let body = format!("{{\"placeTicket\": \"{}\"}}", place.place_ticket);
    let back = stage.call(1, Method::POST, &path, Some(&token), Some(&body)).await;
    assert_eq!((back.status.as_u16(), back.place().ticket_id), (200, place.ticket_id));
}
