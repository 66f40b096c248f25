//! Bad input from clients and strangers: each gets the documented answer and never a 5xx, none
//! reaches a queue, and afterwards the system works as before.
//!
//! | # | input | test |
//! |---|---|---|
//! | 1 | no account | [`callers`] |
//! | 2 | no pass | [`passes`] |
//! | 3 | a pass without signature, or signed with the public key | [`passes`] |
//! | 4, 5 | a pass for another show, of another account | [`passes`] |
//! | 6 | a pass that has expired, or begins later | [`passes`] |
//! | 7 | a pass that was used | `journey`: a pass buys one live booking |
//! | 8 | a pass of an unknown key, of one that is a path, of 4 KiB | [`passes`] |
//! | 9, 10 | no Idempotency-Key; a malformed one | [`headers`] |
//! | 11, 12 | one key fifty times at once; with another body | `bookings`: the same key |
//! | 13 | another content type | [`headers`] |
//! | 14 | bodies that are too long, never end, or break off | [`slow`] |
//! | 15, 16 | bodies that are not JSON; deep, long, with a key twice | [`bodies`] |
//! | 17, 18, 19 | fields that are unknown, of another type, out of range; unknown seats |
//! [`bodies`] | | 20 | a show that is not open, over, unknown | [`moments`] |
//! | 21 | SQL, Lua, headers and markup in every text | [`words`] |
//! | 22 | data of another account | [`callers`] |
//! | 23 | a hundred bookings per second | `abuse::floods` |
//! | 24 | headers and bodies that come slowly, silent connections | [`slow`] |
//! | 25, 26 | sockets from a foreign page, with a bad credential | `abuse::origins` |
//! | 27 | malformed frames | `abuse::frames` |
//! | 28, 29 | two hundred tabs; place tickets that were edited | `abuse::places` |
//! | 30 | addresses to call back | [`words`]: none is called |
//!
//! Messages put straight on a queue of the broker are in [`queue`].

mod callers;
mod passes;
mod headers;
mod bodies;
mod moments;
mod words;
mod slow;
mod queue;

use contract::ShowId;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, System},
    witness::Witness,
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A refusal whose shape was checked.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Refusal {
    /// Reads an answer, which must be a 4xx problem.
    pub(crate) fn of(answer: Answer) -> Self {
        let Answer { status, headers, body } = answer;
        assert!(status.is_client_error(), "{status}: {body}");
        assert_eq!(headers["content-type"], "application/problem+json", "{body}");
        assert_eq!(body["status"], status.as_u16(), "{body}");
        for member in ["type", "title", "detail", "code", "requestId"] {
            assert!(body[member].is_string(), "{member} is missing: {body}");
        }
        Self { status: status.as_u16(), headers, body }
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap()
    }
}

/// Sends a booking with a raw body, which must be refused.
async fn refused(
    system: &System,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Refusal {
    let url = format!("http://{}/api/v1/bookings", system.address);
    // A body that was refused unread ends its connection, which the next request must not meet.
    let alone = reqwest::Client::builder().pool_max_idle_per_host(0).build();
    let mut request = alone.expect("a client").post(url).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Refusal::of(Answer::received(request.send().await.expect("the system answers")).await)
}

/// The body of a valid request for a seat of this show.
fn good(show: ShowId) -> String {
    json!({"showId": show, "tier": "STANDARD", "quantity": 1}).to_string()
}

/// Checks that nothing has reached the queue, and that a valid request still does and is decided.
async fn nothing_came_through(system: &System, witness: &Witness, show: ShowId, token: &str) {
    assert_eq!(witness.heard().await, 0, "something was published");
    let fine = system.book(token, serde_json::from_str(&good(show)).unwrap()).await;
    assert_eq!(fine.body["status"], "ALLOCATED", "the good one works: {fine:?}");
    assert_eq!(witness.heard().await, 1, "the witness hears");
    witness.forget().await;
}
