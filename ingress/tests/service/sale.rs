use contract::access::Role;
use reqwest::Method;
use serde_json::json;
use testing::Answer;

use crate::running::{Ingress, Programme};

#[tokio::test]
async fn a_sale_opens_once_its_queues_are_ready_and_closes_for_good() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let path = format!("/shows/{show}");
    let (open_path, close_path) = (format!("{path}/open"), format!("{path}/close"));
    let nothing = json!({});
    let open = || ingress.post(&open_path, &admin, &nothing);
    let close = || ingress.post(&close_path, &admin, &nothing);
    assert_eq!(close().await.problem(), (409, "SHOW_NOT_ON_SALE"));

    let queues_get_ready = async {
        let ready = "update partitions set queue_ready_at = clock_timestamp()
            where exists (select from shows where sale_state = 'ON_SALE')";
        testing::eventually("the show is on sale", std::time::Duration::from_secs(3), || async {
            let done = sqlx::query(ready).execute(&ingress.pool).await.unwrap();
            (done.rows_affected() > 0).then_some(())
        })
        .await;
    };
    let (opened, ()) = tokio::join!(open(), queues_get_ready);
    assert_eq!(opened.status, 200, "{opened:?}");
    assert_eq!(opened.body["status"], "ON_SALE");
    assert_eq!(open().await.status, 200);

    let change = ingress.send(Method::PUT, &path, Some(&admin), &programme.show()).await;
    assert_eq!(change.problem(), (409, "SHOW_NOT_SCHEDULED"));
    let retire = Answer::to(ingress.call(Method::DELETE, &path).bearer_auth(&admin)).await;
    assert_eq!(retire.problem(), (409, "SHOW_ON_SALE"));

    let closed = close().await;
    assert_eq!((closed.status.as_u16(), &closed.body["status"]), (200, &json!("CLOSED")));
    assert_eq!(close().await.status, 200);
    assert_eq!(open().await.problem(), (409, "SALE_CLOSED"));
    assert_eq!(ingress.get(&path).await.body["status"], "CLOSED");
    ingress.stop().await;
}

#[tokio::test]
async fn opening_answers_202_while_the_queues_are_not_there() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let opened = ingress.post(&format!("/shows/{show}/open"), &admin, &json!({})).await;
    assert_eq!(opened.status, 202);
    assert_eq!(opened.body["status"], "SCHEDULED");
    ingress.stop().await;
}

#[tokio::test]
async fn a_waiting_room_changes_in_part_and_at_once() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &programme.show()).await.id("showId");
    let path = format!("/shows/{show}/waiting-room");
    let set = |change| {
        let (path, admin) = (path.clone(), admin.clone());
        let ingress = &ingress;
        async move { ingress.send(Method::PATCH, &path, Some(&admin), &change).await }
    };
    let room = set(json!({"ratePerSecond": 25.5, "maxActive": 500, "mode": "LOTTERY"})).await;
    let expected = json!({"mode": "LOTTERY", "ratePerSecond": 25.5, "burst": 10,
        "maxActive": 500, "paused": false});
    assert_eq!(room.body, expected);
    let seen = ingress.get(&format!("/shows/{show}")).await;
    assert_eq!(seen.body["waitingRoom"], expected);
    let room = set(json!({"maxActive": null, "paused": true})).await;
    assert_eq!((&room.body["maxActive"], &room.body["paused"]), (&json!(null), &json!(true)));
    for (bad, pointer) in [
        (json!({"ratePerSecond": 0}), "/ratePerSecond"),
        (json!({"ratePerSecond": "9"}), "/ratePerSecond"),
        (json!({"burst": -1}), "/burst"),
        (json!({"mode": "fifo"}), "/mode"),
        (json!({"maxActive": 0}), "/maxActive"),
        (json!({"rate": 5}), "/rate"),
    ] {
        let refused = set(bad.clone()).await;
        assert_eq!(refused.problem(), (400, "VALIDATION_FAILED"), "{bad}");
        assert_eq!(refused.pointer(), pointer);
    }
    let nowhere = format!("/shows/{}/waiting-room", contract::ShowId::new());
    let refused = ingress.send(Method::PATCH, &nowhere, Some(&admin), &json!({})).await;
    assert_eq!(refused.problem(), (404, "SHOW_NOT_FOUND"));
    ingress.stop().await;
}
