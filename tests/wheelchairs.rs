//! Places for wheelchairs go to whoever asks for them by name.

use contract::{access::Role, api::catalogue::RoomMode};
use serde_json::{Value, json};

use crate::harness::{Answer, Plan, SOON, System};

/// A row of five: a wheelchair place in the middle, with a seat for a companion beside it.
fn row() -> Value {
    let kinds = ["seat", "companion", "wheelchair", "seat", "restricted_view"];
    let seat = |(n, kind): (usize, &str)| json!({"seatId": format!("A{}", n + 1), "tier": "STANDARD", "kind": kind});
    json!({"row": "A", "seats": kinds.into_iter().enumerate().map(seat).collect::<Vec<_>>()})
}

/// Makes the show of [`Plan::default`] anew in a hall with this row, and opens it.
async fn show(system: &System) -> String {
    let (_, admin) = system.account(Role::Admin).await;
    let plain = system.scheduled_show(Plan { room: RoomMode::Off, ..Plan::default() }).await;
    let path = format!("/api/v1/shows/{plain}");
    let known = system.get(&path, None).await.body;
    let hall = json!({
        "theatreId": known["theatreId"], "name": "Small",
        "tiers": [{"tier": "STANDARD", "name": "Standard", "generalAdmission": false}],
        "layout": {"rows": [row()]},
    });
    let screen = system.post("/api/v1/screens", &admin, hall).await.body;
    assert_eq!(screen["layout"]["rows"][0], row());
    let mut body = known.clone();
    for answered in ["showId", "status", "available", "timeZone"] {
        body.as_object_mut().unwrap().remove(answered);
    }
    body["screenId"] = screen["screenId"].clone();
    let made = system.post("/api/v1/shows", &admin, body).await;
    assert_eq!(made.body["available"], json!([{"tier": "STANDARD", "seats": 5}]), "{made:?}");
    let show = made.body["showId"].as_str().unwrap().to_owned();
    let opened = system.post(&format!("/api/v1/shows/{show}/open"), &admin, json!({})).await;
    assert!(opened.status.is_success(), "{opened:?}");
    testing::eventually("its queues are ready", SOON, async || {
        let seen = system.get(&format!("/api/v1/shows/{show}"), None).await;
        (seen.body["status"] == "ON_SALE").then_some(())
    })
    .await;
    show
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_place_for_wheelchairs_by_chance() {
    let system = System::start().await;
    let show = show(&system).await;
    let (_, buyer) = system.account(Role::User).await;
    let book = async |wish: Value| -> Answer {
        let mut body = json!({"showId": show, "tier": "STANDARD"});
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        system.book(&buyer, body).await
    };
    let seats = |answer: &Answer| answer.body["order"]["seatIds"].clone();
    // The very first buyer of the best seat, which would be in the middle.
    let first = book(json!({"quantity": 1})).await;
    assert_eq!(seats(&first), json!(["A1"]), "{first:?}");
    // Neither in the place of seats that are taken.
    let lost = book(json!({"seats": ["A1"]})).await;
    assert_eq!(
        (&lost.body["reason"], &lost.body["alternatives"]),
        (&json!("SEAT_TAKEN"), &json!(["A4"])),
        "{lost:?}"
    );
    let rest = book(json!({"quantity": 2})).await;
    assert_eq!(seats(&rest), json!(["A4", "A5"]), "{rest:?}");
    // Two are free still, and not for whoever names none.
    let none = book(json!({"quantity": 1})).await;
    assert!(["SOLD_OUT", "ALL_HELD"].contains(&none.body["reason"].as_str().unwrap()), "{none:?}");
    let asked = book(json!({"seats": ["A3", "A2"]})).await;
    assert_eq!(seats(&asked), json!(["A2", "A3"]), "{asked:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
