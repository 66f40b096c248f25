//! Texts that are commands elsewhere: every field stores them as they are, or refuses them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Refusal;
use crate::harness::{Answer, Plan, System};

/// Texts with a meaning in SQL, Lua, Redis, a shell, HTML, a header, a log, or to the eye.
const COMMANDS: [&str; 14] = [
    "Robert'); drop table accounts;--",
    "' or '1'='1",
    "$1; select pg_sleep(10)",
    "\"}} return redis.call('flushall') --",
    "{show}:*",
    "*3\\r\\n$3\\r\\nSET",
    "$(reboot) `reboot` ; reboot",
    "<script>alert(1)</script>",
    "%0d%0aSet-Cookie: a=b",
    "${jndi:ldap://127.0.0.1/a}",
    "%s%n%x {} {0}",
    "../../../../etc/passwd",
    "\u{202e}gnp.exe\u{200b}\u{feff}",
    "Zoë 🎟🎟 नेहा\u{301}\u{301}",
];

/// Texts with characters that no field may hold.
const UNPRINTABLE: [&str; 4] = ["a\0b", "a\r\nSet-Cookie: a=b", "a\u{1b}[2Jb", "a\u{85}b"];

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_words_like_any_other() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let profile = "/api/v1/auth/profile";
    let put = async |token: &str, name: &str| {
        let body = json!({"name": name, "phone": null});
        system.call(reqwest::Method::PUT, profile, Some(token), &[], Some(body)).await
    };
    for word in COMMANDS {
        let changed = put(&token, word).await;
        assert_eq!(changed.status, StatusCode::OK, "{word}: {changed:?}");
        assert_eq!(system.get(profile, Some(&token)).await.body["name"], word);
        for path in ["movies?q=", "movies?genre=", "movies?cursor=", "bookings/reference/"] {
            let word = percent_encoded(word);
            let answer = system.get(&format!("/api/v1/{path}{word}"), Some(&token)).await;
            assert!(!answer.status.is_server_error(), "{path}{word}: {answer:?}");
            assert!(answer.body["items"].as_array().is_none_or(Vec::is_empty), "{answer:?}");
        }
        let body = json!({"showId": show, "tier": "STANDARD", "seats": [word]});
        let answer = Refusal::of(system.book(&token, body).await);
        assert!(["VALIDATION_FAILED", "SEAT_UNKNOWN"].contains(&answer.code()), "{answer:?}");
    }
    let ordered = order_of(&system, &token, show, COMMANDS[0]).await;
    assert_eq!(ordered.body["customer"]["name"], COMMANDS[0], "{ordered:?}");
    // Another account, since each may change its profile only a few times in a row.
    let other = system.visitor().await;
    for word in UNPRINTABLE.into_iter().chain([" ", "", &"🎟".repeat(4096)]) {
        let refusal = Refusal::of(put(&other, word).await);
        assert!(["VALIDATION_FAILED", "BODY_TOO_LARGE"].contains(&refusal.code()), "{refusal:?}");
    }
    let refusal = Refusal::of(order_of(&system, &token, show, UNPRINTABLE[1]).await);
    assert_eq!(refusal.code(), "VALIDATION_FAILED");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

/// Holds a seat and orders it for a customer of this name.
async fn order_of(system: &System, token: &str, show: contract::ShowId, name: &str) -> Answer {
    let hold = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let held = system.post("/api/v1/holds", token, hold).await;
    assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
    let customer = json!({"name": name, "email": "a@example.org"});
    let order = json!({"holdId": held.body["holdId"], "customer": customer});
    system.post("/api/v1/orders", token, order).await
}

/// Fails if case 30 becomes real: if a body takes an address that the server might fetch.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_takes_an_address_that_is_called_back() {
    let document = System::start().await.get("/openapi.json", None).await.body;
    let mut taken = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let is_body = schema["additionalProperties"] == false;
        for field in schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys()) {
            let lower = field.to_lowercase();
            let is_address = ["url", "uri", "host", "callback", "endpoint", "webhook"];
            if is_body && is_address.iter().any(|word| lower.contains(word)) {
                taken.push(format!("{name}.{field}"));
            }
        }
    }
    // Browsers show the poster; the server does not fetch it.
    assert_eq!(taken, ["NewMovie.posterUrl"], "test what happens to it as case 30 says");
    assert!(
        document["webhooks"].as_object().is_none_or(serde_json::Map::is_empty),
        "{:?}",
        Value::Null
    );
}

fn percent_encoded(word: &str) -> String {
    let bytes: Vec<String> = word.bytes().map(|byte| format!("%{byte:02x}")).collect();
    bytes.concat()
}
