//! Passes: what frees their slots, what revokes them, and that they survive a loss of Redis.

use std::time::Duration;

use contract::{AccountId, TicketId, api::line::PlaceState};
use reqwest::Method;
use store::{
    keys::{self, Rotation},
    live::revoked::Revoked,
};
use testing::eventually;
use uuid::Uuid;

use crate::harness::{Plan, SOON, Stage, Visitor};

/// Writes a confirmed booking with the visitor's pass.
async fn confirm_order(stage: &Stage, visitor: &Visitor) {
    sqlx::query(
        "with a as (insert into accounts (account_id, name, email, password_hash)
                 values ($1, 'A', $1::text || '@visitor.example', 'x')),
         b as (insert into bookings (show_id, booking_id, account_id, tier, kind, status,
                 seat_ids, ticket_id, state)
             values ($2, $3, $1, 'GOLD', 'ORDER', 'ALLOCATED', '{G1}', $4, 'CONFIRMED'))
         insert into orders (show_id, order_id, booking_id, reference, account_id, tier, seat_ids,
             lines, amount, currency, status, customer, expires_at, confirmed_at)
         values ($2, gen_random_uuid(), $3, $3::text, $1, 'GOLD', '{G1}', '[]', 1, 'INR',
             'CONFIRMED', '{}', now(), clock_timestamp())",
    )
    .bind(visitor.account.0)
    .bind(visitor.show.0)
    .bind(Uuid::now_v7())
    .bind(visitor.ticket.0)
    .execute(&stage.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_pass_that_bought_an_order_frees_its_slot() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan { max_active: Some(1), paused: false, ..Plan::default() }).await;
    let buyer = stage.join(0, show).await;
    stage.until(0, &buyer, PlaceState::Admitted).await;
    let next = stage.join(1, show).await;
    let mut socket = stage.watch(0, &buyer).await;
    socket.frame_of("admitted").await;
    assert_eq!(stage.look(0, &next).await.state, PlaceState::Waiting);
    confirm_order(&stage, &buyer).await;
    stage.until(1, &next, PlaceState::Admitted).await;
    assert_eq!(socket.close_code().await, 1000);
    assert_eq!(stage.look(1, &buyer).await.state, PlaceState::Expired);
    // Also after a loss of Redis.
    stage.lose(show).await;
    assert_eq!(stage.look(1, &buyer).await.state, PlaceState::Expired);
    let again = stage.post_queue(0, show, &buyer.token).await;
    assert_eq!(again.status.as_u16(), 201, "who wants more seats queues for them");
}

#[tokio::test]
async fn a_pass_that_is_given_back_is_revoked_within_a_second() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let revoked = Revoked::watch(stage.pool.clone(), &stage.shutdown).await.unwrap();
    let (leaver, taken) = (stage.join(0, show).await, stage.join(0, show).await);
    for visitor in [&leaver, &taken] {
        stage.until(0, visitor, PlaceState::Admitted).await;
        assert!(!revoked.contains(visitor.ticket));
    }
    stage.leave(0, &leaver).await;
    let admin = stage.admin_token();
    let path = format!("/shows/{show}/queue/{}", taken.ticket);
    let ended = stage.call(0, Method::DELETE, &path, Some(&admin), None).await;
    assert_eq!(ended.status.as_u16(), 204);
    for visitor in [&leaver, &taken] {
        eventually("the nodes know", Duration::from_secs(1), || async {
            revoked.contains(visitor.ticket).then_some(())
        })
        .await;
        assert_eq!(stage.look(0, visitor).await.state, PlaceState::Left);
    }
    // A loss of Redis does not bring it back.
    stage.lose(show).await;
    assert_eq!(stage.look(0, &leaver).await.state, PlaceState::Left);
    assert_eq!(stage.post_queue(0, show, &leaver.token).await.status.as_u16(), 201);
}

#[tokio::test]
async fn after_a_loss_an_admitted_account_finds_its_pass_without_its_ticket() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, max_active: Some(1), ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    let next = stage.join(0, show).await;
    stage.lose(show).await;
    let again = eventually("the line is open again", SOON, || async {
        let answer = stage.post_queue(0, show, &visitor.token).await;
        answer.status.is_success().then_some(answer)
    })
    .await;
    assert_eq!((again.status.as_u16(), again.place().state), (200, PlaceState::Admitted));
    assert_eq!(again.place().ticket_id, visitor.ticket);
    // The cap holds: the slot is still taken after the line goes on.
    let behind = stage.join(0, show).await;
    stage.could_admit(show).await;
    assert_eq!(stage.admitted(show).await, [visitor.ticket]);
    assert_eq!(stage.look(0, &next).await.position, Some(1), "before the one who came later");
    stage.leave(0, &visitor).await;
    stage.until(0, &next, PlaceState::Admitted).await;
    assert_eq!(stage.look(0, &behind).await.position, Some(1));
    assert_eq!(stage.admitted(show).await, [visitor.ticket, next.ticket]);
}

#[tokio::test]
async fn a_renewed_pass_survives_a_loss() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    // The pass expires in 30 s, and a look renews it.
    let soon = platform::clock::now() + Duration::from_secs(30);
    sqlx::query("update admissions set admitted_at = admitted_at - interval '270 seconds'")
        .execute(&stage.pool)
        .await
        .unwrap();
    let renewed = stage.look(0, &visitor).await.expires_at.unwrap();
    assert!((renewed - soon).num_seconds() >= 295, "{renewed}");
    sqlx::query("update admissions set admitted_at = admitted_at - interval '5 minutes'")
        .execute(&stage.pool)
        .await
        .unwrap();
    stage.lose(show).await;
    let place = stage.look(0, &visitor).await;
    assert_eq!(place.state, PlaceState::Admitted, "its first lifetime is over");
    assert_eq!(place.expires_at.map(|at| at.timestamp()), Some(renewed.timestamp()));
}

#[tokio::test]
async fn who_leaves_while_being_admitted_is_not_admitted() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let mut redis = stage.redis.clone();
    let ticket = visitor.ticket.to_string();
    let mut taken = redis::pipe();
    for zset in ["line", "ready", "seen"] {
        taken.zrem(Stage::key(show, zset), &ticket);
    }
    let later = platform::clock::now().timestamp_millis() + 60_000;
    taken.zadd(Stage::key(show, "admitting"), &ticket, later);
    let () = taken.query_async(&mut redis).await.unwrap();
    stage.leave(0, &visitor).await;
    assert_eq!(stage.look(0, &visitor).await.state, PlaceState::Left);
    let left: u64 = redis::cmd("ZCARD")
        .arg(Stage::key(show, "admitting"))
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(left, 0, "it takes no slot");
    assert_eq!(stage.admitted(show).await, Vec::<TicketId>::new());
    let account: AccountId = visitor.account;
    assert_ne!(
        stage.post_queue(0, show, &stage.token(account)).await.place().ticket_id,
        visitor.ticket
    );
}

#[tokio::test]
async fn passes_of_the_key_before_stay_valid_and_a_new_key_signs_once_it_is_known() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    let pass = stage.until(0, &visitor, PlaceState::Admitted).await.pass.unwrap();
    let (pool, master) = (&stage.pool, stage.slot.master_key());
    let load = async || keys::load(pool, &master).await.unwrap();
    let is_valid = async || {
        let now = platform::clock::now();
        load().await.verify.verify(&pass, show, visitor.account, now).is_ok()
    };
    let first = load().await.sign.unwrap().kid;
    let live = Duration::from_mins(15);
    let rotated = keys::rotate(pool, &master, live).await.unwrap();
    let Rotation::Rotated { kid } = rotated else { panic!("{rotated:?}") };
    assert_eq!(load().await.sign.unwrap().kid, first, "not every node knows the new key yet");
    let age = async || {
        let later = "update signing_keys set created_at = created_at - interval '2 minutes'";
        sqlx::query(later).execute(pool).await.unwrap();
    };
    age().await;
    assert_eq!(load().await.sign.unwrap().kid, kid);
    assert!(is_valid().await, "until it expires");
    let again = keys::rotate(pool, &master, live).await.unwrap();
    assert!(matches!(again, Rotation::TooSoon { wait } if wait > Duration::from_mins(13)));
    assert!(is_valid().await);
    // Two rotations at once remove a leaked key.
    keys::rotate(pool, &master, Duration::ZERO).await.unwrap();
    assert!(!is_valid().await);
    let count = serde_json::to_value(load().await.verify.jwks()).unwrap();
    assert_eq!(count["keys"].as_array().map(Vec::len), Some(2), "two are live");
}
