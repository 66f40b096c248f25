//! Bounds on unpaid seats: no account can keep seats from others for ever without paying.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use contract::{AccountId, ShowId, access::Role, deadline::CAME_BACK_FOR_OTHERS};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::eventually;

use crate::harness::{Answer, Plan, SOON, System, counted};

/// All seats of the show, which one account may have.
const SEATS: u32 = 6;
const HOLD_SECONDS: u32 = 4;
const ORDER_SECONDS: u32 = 4;
/// Most rounds of a robot.
const ROUNDS: usize = 60;

fn plan() -> Plan {
    Plan {
        rows: 1,
        seats: SEATS,
        per_user: SEATS,
        hold_seconds: HOLD_SECONDS,
        order_seconds: ORDER_SECONDS,
        ..Plan::default()
    }
}

/// Asks for a hold until ingress knows of free seats.
async fn hold(system: &System, show: ShowId, token: &str, quantity: u32) -> Answer {
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": quantity});
    eventually("the door knows of free seats", SOON, async || {
        let (wait, body) = ([("prefer", "wait=10")], Some(body.clone()));
        let held = system.call(Method::POST, "/api/v1/holds", Some(token), &wait, body).await;
        (held.code() != "ALL_HELD").then_some(held)
    })
    .await
}

async fn release(system: &System, token: &str, hold: &Answer) {
    let path = format!("/api/v1/holds/{}", hold.body["holdId"].as_str().unwrap());
    let released = system.call(Method::DELETE, &path, Some(token), &[], None).await;
    assert_eq!(released.status, StatusCode::NO_CONTENT, "{released:?}");
}

/// Makes an order of the hold; returns its id.
async fn order(system: &System, token: &str, hold: &Answer) -> String {
    let customer = json!({"name": "Asha Rao", "email": "asha@visitor.example"});
    let body = json!({"holdId": hold.body["holdId"], "customer": customer});
    let ordered = system.post("/api/v1/orders", token, body).await;
    assert_eq!(ordered.status, StatusCode::CREATED, "{ordered:?}");
    ordered.body["orderId"].as_str().unwrap().to_owned()
}

async fn of_order(system: &System, token: &str, order: &str, what: &str, body: Value) -> Answer {
    system.post(&format!("/api/v1/orders/{order}/{what}"), token, body).await
}

/// Seats times seconds that the account has kept unpaid, from the database.
async fn unpaid(system: &System, show: ShowId, account: AccountId) -> i64 {
    let query = "select unpaid_seat_seconds from account_quotas
                 where show_id = $1 and account_id = $2";
    let query = sqlx::query_scalar(query).bind(show.0).bind(account.0);
    query.fetch_one(&system.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_pays_is_refused_in_the_end() {
    let system = System::start().await;
    // Enough seats that each round takes other ones; seats that have just come back have a test of
    // their own.
    let show = system.show(Plan { rows: 6, seats: 20, ..plan() }).await;
    let (robot, token) = system.account(Role::User).await;
    let mut rounds = 0;
    let refused = loop {
        let held = hold(&system, show, &token, SEATS).await;
        if held.status != StatusCode::CREATED {
            break held;
        }
        rounds += 1;
        assert!(rounds < ROUNDS, "all rounds of hold and give back were granted");
        // In turn, each way of giving seats back unpaid.
        if rounds % 2 == 0 {
            release(&system, &token, &held).await;
        } else {
            let order = order(&system, &token, &held).await;
            let cancelled = of_order(&system, &token, &order, "cancel", json!({})).await;
            assert_eq!(cancelled.status, StatusCode::OK, "{cancelled:?}");
        }
    };
    assert_eq!((refused.status.as_u16(), refused.code()), (422, "LIMIT_EXCEEDED"), "{refused:?}");
    assert_eq!(refused.body["limit"], "UNPAID_SEAT_TIME");
    assert!(refused.body["detail"].as_str().unwrap().contains("unpaid"), "{refused:?}");
    // A booking is refused for the same reason.
    let wish = json!({"showId": show, "tier": "STANDARD", "quantity": SEATS});
    let booked = system.book(&token, wish).await;
    assert_eq!(booked.body["reason"], "LIMIT_EXCEEDED", "{booked:?}");
    assert_eq!(booked.body["limit"], "UNPAID_SEAT_TIME", "{booked:?}");
    let most = i64::from(2 * SEATS * (HOLD_SECONDS + ORDER_SECONDS));
    let kept = unpaid(&system, show, robot).await;
    assert!((1..=most).contains(&kept), "{kept} of {most} seat-seconds");
    let labels = format!("show=\"{show}\",limit=\"UNPAID_SEAT_TIME\"");
    assert_eq!(counted(&format!("usher_unpaid_limit_reached_total{{{labels}}}")), 2);

    let rival = hold(&system, show, &system.visitor().await, SEATS).await;
    assert_eq!(rival.status, StatusCode::CREATED, "{rival:?}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_lapses_costs_its_whole_time_and_a_paid_one_nothing() {
    let system = System::start().await;
    let show = system.show(Plan { order_seconds: 300, ..plan() }).await;
    let (lazy, token) = system.account(Role::User).await;
    let held = hold(&system, show, &token, 3).await;
    assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
    let kept = eventually("the hold lapses", SOON, async || {
        let kept = unpaid(&system, show, lazy).await;
        (kept > 0).then_some(kept)
    })
    .await;
    assert_eq!(kept, i64::from(3 * HOLD_SECONDS), "however late it was swept");

    let (buyer, token) = system.account(Role::User).await;
    let held = hold(&system, show, &token, SEATS).await;
    let order = order(&system, &token, &held).await;
    let paid =
        of_order(&system, &token, &order, "confirm-payment", json!({"method": "mock"})).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    let cancelled = of_order(&system, &token, &order, "cancel", json!({})).await;
    assert_eq!(cancelled.body["status"], "CANCELLED", "{cancelled:?}");
    assert_eq!(unpaid(&system, show, buyer).await, 0, "the seats were paid for");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_thinks_again_at_once_pays_seconds_and_still_buys() {
    let system = System::start().await;
    let show = system.show(Plan { per_user: SEATS, ..Plan::default() }).await;
    let (account, token) = system.account(Role::User).await;
    for quantity in 1..=SEATS {
        let held = hold(&system, show, &token, quantity).await;
        assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
        release(&system, &token, &held).await;
    }
    let kept = unpaid(&system, show, account).await;
    assert!((21..900).contains(&kept), "{kept} seat-seconds for 21 seats, each for a moment");
    let held = hold(&system, show, &token, SEATS).await;
    let order = order(&system, &token, &held).await;
    let paid =
        of_order(&system, &token, &order, "confirm-payment", json!({"method": "mock"})).await;
    assert_eq!(paid.body["status"], "CONFIRMED", "{paid:?}");
    system.stop().await;
}

/// Robots in turn hold all seats and give them back, as fast as they are answered, until the rival
/// has the seats. Returns how many rounds they got.
async fn robots_in_turn(
    system: &System,
    show: ShowId,
    robots: &[String],
    is_over: &AtomicBool,
) -> usize {
    let mut rounds = 0;
    for robot in robots.iter().cycle() {
        if is_over.load(Ordering::Relaxed) || rounds >= ROUNDS {
            return rounds;
        }
        let body = json!({"showId": show, "tier": "STANDARD", "quantity": SEATS});
        let (headers, path) = ([("prefer", "wait=10")], "/api/v1/holds");
        let held = system.call(Method::POST, path, Some(robot), &headers, Some(body)).await;
        if held.status != StatusCode::CREATED {
            let refusals = ["ALL_HELD", "LIMIT_EXCEEDED", "RATE_LIMITED"];
            assert!(refusals.contains(&held.code()), "{held:?}");
            continue;
        }
        rounds += 1;
        let order = order(system, robot, &held).await;
        let cancelled = of_order(system, robot, &order, "cancel", json!({})).await;
        assert_eq!(cancelled.status, StatusCode::OK, "{cancelled:?}");
    }
    rounds
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_leave_seats_to_others_for_a_moment_is_told_when_to_ask_again() {
    let system = System::start().await;
    let show = system.show(Plan { hold_seconds: 60, order_seconds: 60, ..plan() }).await;
    let token = system.visitor().await;
    for _ in 0..2 {
        let held = hold(&system, show, &token, SEATS).await;
        assert_eq!(held.status, StatusCode::CREATED, "{held:?}");
        release(&system, &token, &held).await;
    }
    let refused = hold(&system, show, &token, SEATS).await;
    assert_eq!(refused.body["limit"], "JUST_CAME_BACK", "{refused:?}");
    let hint: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(hint >= CAME_BACK_FOR_OTHERS.as_secs(), "not early: {hint}");
    assert!(hint <= CAME_BACK_FOR_OTHERS.as_secs() + 2, "{hint}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_gets_the_seats_that_robots_give_back_and_take_again() {
    let system = System::start().await;
    for n_robots in [1, 20] {
        let show = system.show(Plan { hold_seconds: 60, order_seconds: 60, ..plan() }).await;
        let mut robots = Vec::new();
        for _ in 0..n_robots {
            robots.push(system.visitor().await);
        }
        let (rival, is_over) = (system.visitor().await, AtomicBool::new(false));
        let asks_twice_a_second = async {
            let mut asks = tokio::time::interval(Duration::from_millis(500));
            loop {
                asks.tick().await;
                let body = json!({"showId": show, "tier": "STANDARD", "quantity": SEATS});
                let headers = [("prefer", "wait=10")];
                let path = "/api/v1/holds";
                let held =
                    system.call(Method::POST, path, Some(&rival), &headers, Some(body)).await;
                if held.status == StatusCode::CREATED || is_over.load(Ordering::Relaxed) {
                    is_over.store(true, Ordering::Relaxed);
                    return held;
                }
            }
        };
        let robots_try = async {
            let rounds = robots_in_turn(&system, show, &robots, &is_over).await;
            is_over.store(true, Ordering::Relaxed);
            rounds
        };
        let (held, rounds) = tokio::join!(asks_twice_a_second, robots_try);
        assert_eq!(held.status, StatusCode::CREATED, "after {rounds} rounds: {held:?}");
        assert!(rounds <= 2 * n_robots, "{rounds} rounds of {n_robots} robots");
    }
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
