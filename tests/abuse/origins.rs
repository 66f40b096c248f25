//! Sockets from foreign pages, or with invalid credentials.

use std::time::Duration;

use contract::{
    access::{AccessKeys, Caller, Role},
    api::catalogue::RoomMode,
};
use serde_json::json;

use super::wire::Wire;
use crate::harness::{Plan, System};

/// The paths of all sockets of an account, each with the subprotocol of its credential.
struct Doors {
    live: [(String, String); 4],
    bearer: String,
}

async fn doors(system: &System, token: &str) -> Doors {
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let open = system.show(Plan::default()).await;
    let joined = system.post(&format!("/api/v1/shows/{show}/queue"), token, json!({})).await;
    let line = joined.body["liveUrl"].as_str().unwrap().to_owned();
    let ticket = joined.body["placeTicket"].as_str().unwrap().to_owned();
    let body = json!({"showId": open, "tier": "STANDARD", "quantity": 1});
    let booked = system.book(token, body).await;
    let booking = format!("/api/v1/bookings/{}/live", booked.body["bookingId"].as_str().unwrap());
    let bearer = format!("bearer.{token}");
    Doors {
        live: [
            ("/api/v1/live".to_owned(), bearer.clone()),
            (booking, bearer.clone()),
            (format!("/api/v1/shows/{open}/seats/live"), bearer.clone()),
            (line, format!("place-ticket.{ticket}")),
        ],
        bearer,
    }
}

/// The status of an upgrade; 101 if it succeeds.
async fn upgrade(system: &System, path: &str, headers: &[(&str, &str)]) -> u16 {
    Wire::open(system.address, path, headers).await.err().unwrap_or(101)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_ones_own_open_sockets() {
    let system = System::start_with_arguments(&["--allowed-origins=https://tickets.example"]).await;
    let token = system.visitor().await;
    let doors = doors(&system, &token).await;
    let (own, longer) =
        (format!("http://{}", system.address), format!("http://{}0", system.address));
    for (path, protocol) in &doors.live {
        let protocols = format!("usher.v1, {protocol}");
        for (origin, status) in [
            (None, 101),
            (Some("https://tickets.example"), 101),
            (Some(own.as_str()), 101),
            (Some("https://evil.example"), 403),
            (Some("null"), 403),
            (Some(""), 403),
            (Some("http://tickets.example"), 403),
            (Some("https://tickets.example.evil.example"), 403),
            (Some("https://tickets.example:444"), 403),
            (Some("https://tickets.example@evil.example"), 403),
            (Some(longer.as_str()), 403),
            (Some("file://"), 403),
        ] {
            let mut headers = vec![("sec-websocket-protocol", protocols.as_str())];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let got = upgrade(&system, path, &headers).await;
            assert_eq!(got, status, "{path} from {origin:?}");
        }
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_opens_to_whoever_it_is_for_and_to_nobody_else() {
    let system = System::start().await;
    let (account, token) = system.account(Role::User).await;
    let stranger = format!("usher.v1, bearer.{}", system.visitor().await);
    let doors = doors(&system, &token).await;
    let keys = AccessKeys::new(&system.slot.master_key());
    let caller = Caller { account, role: Role::User };
    let past = platform::clock::now() - Duration::from_mins(1);
    let expired = format!("usher.v1, bearer.{}", keys.issue(caller, past));
    for (path, protocol) in &doors.live {
        let own = format!("usher.v1, {}", doors.bearer);
        let edited = format!("usher.v1, {protocol}x");
        let unproven = [None, Some(expired.as_str()), Some("usher.v1, bearer.x"), Some(&edited)];
        for protocols in unproven {
            let headers: Vec<_> =
                protocols.map(|p| ("sec-websocket-protocol", p)).into_iter().collect();
            assert_eq!(upgrade(&system, path, &headers).await, 401, "{path}: {protocols:?}");
        }
        let headers = [("sec-websocket-protocol", own.as_str())];
        assert_eq!(upgrade(&system, path, &headers).await, 101, "{path}");
        let is_for_any_account = path == "/api/v1/live" || path.ends_with("/seats/live");
        if !is_for_any_account {
            let headers = [("sec-websocket-protocol", stranger.as_str())];
            assert_eq!(upgrade(&system, path, &headers).await, 404, "{path}");
        }
        let plain = system.get(path, Some(&token)).await;
        assert_eq!((plain.status.as_u16(), plain.code()), (426, "UPGRADE_REQUIRED"), "{path}");
    }
    system.stop().await;
}
