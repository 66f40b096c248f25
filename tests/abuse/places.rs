//! Attempts to get more places in a line, or better ones.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contract::{
    ShowId,
    api::catalogue::RoomMode,
    keys::MasterKey,
    place_ticket::{Place, PlaceKeys},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{counted, wire::Wire};
use crate::harness::{Answer, Plan, SOON, System};

const TABS: usize = 200;
const SOCKETS: usize = 50;
/// Most sockets of the line that one account may have open.
const SOCKETS_KEPT: usize = 5;

/// Joins from this address.
async fn join(system: &System, show: ShowId, token: &str, from: &str, body: Value) -> Answer {
    let path = format!("/api/v1/shows/{show}/queue");
    let headers = [("x-forwarded-for", from)];
    system.call(Method::POST, &path, Some(token), &headers, Some(body)).await
}

/// A show whose line is paused, so that all places stay.
async fn crowded(system: &System) -> ShowId {
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let (_, admin) = system.account(contract::access::Role::Admin).await;
    let path = format!("/api/v1/shows/{show}/waiting-room");
    let paused =
        system.call(Method::PATCH, &path, Some(&admin), &[], Some(json!({"paused": true})));
    assert_eq!(paused.await.status, 200);
    show
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tabs_of_one_account_are_one_place() {
    let system = System::start().await;
    let show = crowded(&system).await;
    let (token, other) = (system.visitor().await, system.visitor().await);
    let tabs =
        join_all((0..TABS).map(|_| join(&system, show, &token, "192.0.2.1", json!({})))).await;
    let (answered, limited): (Vec<_>, Vec<_>) =
        tabs.iter().partition(|answer| answer.status.is_success());
    assert_eq!(answered.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(!limited.is_empty() && limited.iter().all(|answer| answer.code() == "RATE_LIMITED"));
    let tickets: BTreeSet<_> =
        answered.iter().map(|tab| tab.body["ticketId"].to_string()).collect();
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    let next = join(&system, show, &other, "192.0.2.2", json!({})).await;
    assert_eq!(next.status, 201, "others may join: {next:?}");
    assert_eq!((&next.body["position"], &next.body["waiting"]), (&json!(2), &json!(2)));

    let path = answered[0].body["liveUrl"].as_str().unwrap();
    let protocols = format!("usher.v1, bearer.{token}");
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Wire::open(system.address, path, &headers).await.expect("it opens");
        assert!(socket.text().await.unwrap().contains("position"));
        sockets.push(socket);
    }
    for socket in &mut sockets[..SOCKETS - SOCKETS_KEPT] {
        assert_eq!(socket.close_code().await, 4001, "the older give way");
    }
    let kept = sockets.last_mut().unwrap();
    assert!(kept.text().await.is_ok(), "the newest goes on");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_ticket_that_was_edited_or_is_anothers_proves_nothing() {
    let system = System::start().await;
    let show = crowded(&system).await;
    let elsewhere = crowded(&system).await;
    let (first, token) = (system.visitor().await, system.visitor().await);
    let theirs = join(&system, show, &first, "192.0.2.1", json!({})).await;
    let theirs = theirs.body["placeTicket"].as_str().unwrap().to_owned();
    let mine = join(&system, show, &token, "192.0.2.2", json!({})).await;
    let ticket = mine.body["placeTicket"].as_str().unwrap().to_owned();
    let own_keys = PlaceKeys::new(&system.slot.master_key());
    let strange = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let place = own_keys.verify(&ticket).unwrap();
    let edited = |change: fn(&mut Value)| {
        let [header, claims, signature] = ticket.split('.').collect::<Vec<_>>().try_into().unwrap();
        let mut claims: Value = serde_json::from_slice(&BASE64.decode(claims).unwrap()).unwrap();
        change(&mut claims);
        format!("{header}.{}.{signature}", BASE64.encode(claims.to_string()))
    };
    let unsigned = BASE64.encode(r#"{"typ":"usher-place+jwt","alg":"none"}"#);
    let claims = ticket.split('.').nth(1).unwrap();
    for (what, ticket) in [
        ("a better number", edited(|claims| claims["num"] = json!(1))),
        ("a better lane", edited(|claims| claims["lane"] = json!(1))),
        ("another epoch", edited(|claims| claims["epoch"] = json!(0))),
        ("an earlier time", edited(|claims| claims["jat"] = json!(0))),
        ("no signature", format!("{unsigned}.{claims}.")),
        ("another key's", PlaceKeys::new(&strange).sign(&Place { number: 1, ..place.clone() })),
        ("somebody else's", theirs),
        ("another show's", own_keys.sign(&Place { show: elsewhere, ..place.clone() })),
        ("an access token", token.clone()),
        ("long", "x".repeat(8_000)),
    ] {
        let before = counted("usher_line_ticket_refused_total");
        let refused =
            join(&system, show, &token, "192.0.2.3", json!({"placeTicket": ticket})).await;
        let got = (refused.status.as_u16(), refused.code());
        assert_eq!(got, (401, "PLACE_TICKET_INVALID"), "{what}: {refused:?}");
        assert!(counted("usher_line_ticket_refused_total") > before, "{what} is counted");
    }
    let path = format!("/api/v1/shows/{show}/queue/{}", mine.body["ticketId"].as_str().unwrap());
    let still = system.get(&path, Some(&token)).await;
    assert_eq!(still.body["position"], 2, "the place is what it was: {still:?}");
    system.stop().await;
}

/// A ticket from before a loss is valid only for its own place and its owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_from_an_earlier_epoch_gives_nobody_a_better_place() {
    let system = System::start().await;
    let show = crowded(&system).await;
    let (first, second) = (system.visitor().await, system.visitor().await);
    let [old_first, old_second] = [
        join(&system, show, &first, "192.0.2.1", json!({})).await,
        join(&system, show, &second, "192.0.2.2", json!({})).await,
    ];
    let mut redis = system.slot.redis().await;
    let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    let ticket = |answer: &Answer| json!({"placeTicket": answer.body["placeTicket"]});
    let back = async |token: &str, ticket: Value| {
        testing::eventually("the line is open again", SOON, async || {
            let answer = join(&system, show, token, "192.0.2.3", ticket.clone()).await;
            (answer.status.as_u16() != 503).then_some(answer)
        })
        .await
    };
    let thief = back(&second, ticket(&old_first)).await;
    assert_eq!(thief.code(), "PLACE_TICKET_INVALID", "{thief:?}");
    let returned = back(&second, ticket(&old_second)).await;
    assert_eq!(returned.body["ticketId"], old_second.body["ticketId"], "{returned:?}");
    // No number is told while places come back.
    let returned = testing::eventually("numbers are told again", 2 * SOON, async || {
        let returned = back(&first, ticket(&old_first)).await;
        returned.body["position"].is_u64().then_some(returned)
    })
    .await;
    assert_eq!(returned.body["position"], 1, "nobody overtook: {returned:?}");
    system.stop().await;
}
