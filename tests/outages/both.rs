//! PostgreSQL and Redis are away together, and Redis comes back first, without its data.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use testing::{
    Slot, eventually,
    proxy::{Mode, Proxy},
};
use tokio::time::{Instant, sleep};
use usher::up::Allocation;

use super::RECOVERED;
use crate::{
    harness::{Plan, SOON, System, fresh_key},
    keys::book,
    queues::on_sale_without_allocator,
};

/// Longer than it may take until a booking is accepted, reported and counted.
const COUNTED_IF_POSTGRES_WERE_THERE: Duration = Duration::from_secs(13);
/// For longer than a node takes to report what it accepted.
const ASKED_FOR: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_redis_forgot_is_refused_by_nobody_when_postgres_is_back() {
    let mut slot = Slot::take().await;
    let database = slot.pool();
    let postgres = Proxy::before(&mut slot.database_url).await;
    let system = System::start_at(slot, Allocation::Elsewhere).await;
    let show = system.scheduled_show(Plan::default()).await;
    on_sale_without_allocator(&system, show).await;
    let (token, key, stranger) = (system.visitor().await, fresh_key(), system.visitor().await);
    let code_of =
        async |wish| system.post("/api/v1/bookings", &stranger, wish).await.code().to_owned();
    eventually("the door knows", SOON, async || {
        let no_seat = json!({"showId": show, "tier": "STANDARD", "seats": ["Z99"]});
        (code_of(no_seat).await != "SALE_NOT_OPEN").then_some(())
    })
    .await;

    postgres.set(Mode::Stall);
    let accepted = book(&system, &token, &key, show).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    let mut redis = system.slot.redis().await;
    let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    let first = book(&system, &stranger, &fresh_key(), show).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "Redis remembers from now on: {first:?}");
    let close = "update shows set sale_state = 'CLOSED', closed_at = clock_timestamp() \
                 where show_id = $1";
    sqlx::query(close).bind(show.0).execute(&database).await.expect("the sale is closed");
    sleep(COUNTED_IF_POSTGRES_WERE_THERE).await;
    postgres.forget();

    eventually("the door knows", RECOVERED, async || {
        let wish = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
        (code_of(wish).await == "SALE_CLOSED").then_some(())
    })
    .await;
    let began = Instant::now();
    while began.elapsed() < ASKED_FOR {
        let again = book(&system, &token, &key, show).await;
        assert_eq!(again.code(), "OUTCOME_UNKNOWN", "it is in its queue: {again:?}");
        sleep(Duration::from_millis(100)).await;
    }
    system.stop().await;
}
