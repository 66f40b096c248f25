//! Bookings at the wrong time: before the sale, after it, and for a show that does not exist.

use contract::{ShowId, access::Role};
use serde_json::json;
use testing::eventually;

use super::{JSON, good, refused};
use crate::{
    harness::{Plan, SOON, System},
    witness::Witness,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_takes_nothing_before_it_opens_nor_after_it_closed() {
    let system = System::start().await;
    let show = system.scheduled_show(Plan::default()).await;
    let witness = Witness::of(&system, show).await;
    let token = system.visitor().await;
    let (_, admin) = system.account(Role::Admin).await;
    let ask = async || refused(&system, Some(&token), &[JSON], good(show)).await;

    let early = ask().await;
    assert_eq!((early.status, early.code()), (409, "SALE_NOT_OPEN"));
    assert!(early.body["saleOpensAt"].is_string() && early.headers.contains_key("retry-after"));
    system.post(&format!("/api/v1/shows/{show}/open"), &admin, json!({})).await;
    eventually("the sale opens", SOON, async || {
        let body = serde_json::from_str(&good(show)).unwrap();
        (system.book(&token, body).await.body["status"] == "ALLOCATED").then_some(())
    })
    .await;
    system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    eventually("the sale closes", SOON, async || {
        (ask().await.code() == "SALE_CLOSED").then_some(())
    })
    .await;
    witness.forget().await;
    let late = ask().await;
    assert_eq!((late.status, late.code()), (409, "SALE_CLOSED"));
    for unknown in [ShowId::new(), ShowId(uuid::Uuid::nil()), ShowId(uuid::Uuid::max())] {
        let never = refused(&system, Some(&token), &[JSON], good(unknown)).await;
        assert_eq!((never.status, never.code()), (404, "SHOW_NOT_FOUND"));
    }
    assert_eq!(witness.heard().await, 0, "nothing of it was published");
    system.stop().await;
}
