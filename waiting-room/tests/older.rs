//! A Redis that lacks the last changes: started from an old dump, or a replica that was behind.

use std::{collections::HashSet, time::Duration};

use contract::{ShowId, api::line::PlaceState, place_ticket::Place};
use futures_util::future::join_all;
use reqwest::Method;
use testing::{eventually, proxy::Proxy};
use waiting_room::testing::KEYS;

use crate::{
    harness::{Plan, SOON, Stage, Visitor},
    own_redis::OwnRedis,
};

/// Lets visitors join over both nodes at once, until each has a place.
async fn many_join(stage: &Stage, show: ShowId, count: usize) -> Vec<Visitor> {
    let joins = (0..count).map(|turn| async move {
        let account = contract::AccountId::new();
        let token = stage.token(account);
        let place = eventually("a place", SOON, || async {
            let answer = stage.post_queue(turn % 2, show, &token).await;
            answer.status.is_success().then(|| answer.place())
        })
        .await;
        let (ticket, place_ticket) = (place.ticket_id, place.place_ticket);
        Visitor { show, account, token, ticket, place_ticket }
    });
    join_all(joins).await
}

async fn epoch(stage: &Stage, show: ShowId) -> i32 {
    let row = sqlx::query_scalar("select epoch from lines where show_id = $1").bind(show.0);
    row.fetch_one(&stage.pool).await.unwrap()
}

/// Checks that all numbers differ, and that the line begins anew once and keeps their order.
async fn settles(stage: &Stage, show: ShowId, visitors: Vec<Visitor>) {
    let number = |who: &Visitor| stage.place_keys.verify(&who.place_ticket).unwrap().number;
    let numbers: HashSet<u64> = visitors.iter().map(number).collect();
    assert_eq!(numbers.len(), visitors.len(), "a number was given twice");
    let mut visitors = visitors;
    visitors.sort_by_key(number);
    let (stage, visitors) = (stage, &visitors);
    eventually("everybody is back in place", Duration::from_secs(40), || async {
        let looks = visitors.iter().enumerate().map(|(turn, who)| stage.ask(turn % 2, who));
        let answers = join_all(looks).await;
        let in_place = answers.iter().enumerate().all(|(turn, answer)| {
            answer.status.is_success() && {
                let place = answer.place();
                place.state == PlaceState::Waiting && place.position == Some(turn as u64 + 1)
            }
        });
        in_place.then_some(())
    })
    .await;
    assert_eq!(epoch(stage, show).await, 2, "it began anew once");
    // It does so only once: a line whose keys contradict each other would begin anew within two
    // rounds.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(epoch(stage, show).await, 2, "it began anew again");
    }
    stage.set(show, "room_paused = false").await;
    eventually("all are let in", SOON, || async {
        (stage.admitted(show).await.len() == visitors.len()).then_some(())
    })
    .await;
    let taken = stage.taken(show).await;
    assert_eq!(taken.len(), visitors.len());
    assert!(taken.is_sorted(), "{taken:?}");
}

#[tokio::test]
async fn a_redis_started_from_a_dump_gives_no_number_twice_and_the_line_settles_once() {
    let mut redis = OwnRedis::start().await;
    let stage = Stage::on(2, &redis.url()).await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = many_join(&stage, show, 10).await;
    redis.tell(&["SAVE"]).await;
    visitors.extend(many_join(&stage, show, 20).await);
    redis.kill();
    redis.start_again().await;
    visitors.extend(many_join(&stage, show, 30).await);
    settles(&stage, show, visitors).await;
}

#[tokio::test]
async fn a_replica_that_was_behind_gives_no_number_twice_and_the_line_settles_once() {
    let (mut master, replica) = (OwnRedis::start().await, OwnRedis::start().await);
    let stage = Stage::on(2, &master.url()).await;
    let link = Proxy::before(&mut master.url()).await;
    let (host, port) = (link.address.ip().to_string(), link.address.port().to_string());
    replica.tell(&["REPLICAOF", &host, &port]).await;
    replica.has_caught_up().await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = many_join(&stage, show, 10).await;
    eventually("the replica knows them", SOON, || async {
        let mut connection = replica.connection().await;
        let known: usize = redis::cmd("ZCARD")
            .arg(Stage::key(show, "line"))
            .query_async(&mut connection)
            .await
            .unwrap();
        (known == 10).then_some(())
    })
    .await;
    link.cut();
    visitors.extend(many_join(&stage, show, 20).await);
    master.kill();
    replica.tell(&["REPLICAOF", "NO", "ONE"]).await;
    stage.proxy.lead_to(replica.address);
    visitors.extend(many_join(&stage, show, 30).await);
    settles(&stage, show, visitors).await;
}

#[tokio::test]
async fn a_node_that_never_saw_the_line_gives_no_number_of_an_older_redis() {
    let mut redis = OwnRedis::start().await;
    let stage = Stage::on(1, &redis.url()).await;
    let show = stage.show(Plan::default()).await;
    let first = stage.join(0, show).await;
    redis.tell(&["SAVE"]).await;
    let second = stage.join(0, show).await;
    stage.stop_node(0);
    redis.kill();
    redis.start_again().await;
    // A fresh node does not know how far the line had got.
    let fresh = stage.another_node().await;
    let third = eventually("a place", SOON, || async {
        let token = stage.token(contract::AccountId::new());
        let path = format!("/shows/{show}/queue");
        let url = format!("http://{fresh}/api/v1{path}");
        let answer = reqwest::Client::new().post(url).bearer_auth(token).send().await.ok()?;
        let body: serde_json::Value = answer.json().await.ok()?;
        body["placeTicket"].as_str().map(str::to_owned)
    })
    .await;
    let number = |ticket: &str| stage.place_keys.verify(ticket).unwrap().number;
    let numbers: HashSet<u64> = [&first.place_ticket, &second.place_ticket, &third]
        .into_iter()
        .map(|t| number(t))
        .collect();
    assert_eq!(numbers.len(), 3, "a number was given twice");
}

#[tokio::test]
async fn a_store_that_goes_back_within_one_redis_gives_no_number_twice_either() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = many_join(&stage, show, 10).await;
    let mut redis = stage.redis.clone();
    for name in KEYS {
        let key = Stage::key(show, name);
        let () = redis::cmd("COPY")
            .arg(&key)
            .arg(format!("{key}:before"))
            .query_async(&mut redis)
            .await
            .unwrap();
    }
    visitors.extend(many_join(&stage, show, 20).await);
    let mut back = redis::pipe();
    back.atomic();
    for name in KEYS {
        let key = Stage::key(show, name);
        back.cmd("DEL").arg(&key).cmd("COPY").arg(format!("{key}:before")).arg(&key);
    }
    let _: redis::Value = back.query_async(&mut redis).await.unwrap();
    visitors.extend(many_join(&stage, show, 30).await);
    settles(&stage, show, visitors).await;
}

#[tokio::test]
async fn two_tickets_for_one_number_do_not_keep_the_line_from_settling() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let first = stage.join(0, show).await;
    let place = stage.place_keys.verify(&first.place_ticket).unwrap();
    let account = contract::AccountId::new();
    let twin = Place { ticket: contract::TicketId::new(), account, ..place };
    let body = format!("{{\"placeTicket\": \"{}\"}}", stage.place_keys.sign(&twin));
    let path = format!("/shows/{show}/queue");
    let token = stage.token(account);
    stage.lose(show).await;
    eventually("the first is back", SOON, || async {
        (stage.ask(0, &first).await.status.is_success()).then_some(())
    })
    .await;
    let answer = stage.call(0, Method::POST, &path, Some(&token), Some(&body)).await;
    assert_eq!(answer.status.as_u16(), 201, "a place of its own: {}", answer.body);
    let place = answer.place();
    let (ticket, place_ticket) = (place.ticket_id, place.place_ticket);
    let second = Visitor { show, account, token, ticket, place_ticket };
    eventually("both have their places", SOON, || async {
        let (first, second) = (stage.look(0, &first).await, stage.look(0, &second).await);
        (first.position == Some(1) && second.position == Some(2)).then_some(())
    })
    .await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(epoch(&stage, show).await, 2, "it began anew again");
    }
}
