//! Losses of Redis, and visitors who are away for a while.

use contract::{api::line::PlaceState, place_ticket::Place};
use reqwest::Method;
use testing::eventually;

use crate::harness::{Plan, SOON, Stage, measure, measured};

#[tokio::test]
async fn the_line_comes_back_in_its_old_order_after_a_loss() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    let mut visitors = Vec::new();
    for turn in 0..8 {
        visitors.push(stage.join(turn % 2, show).await);
    }
    let mut early = stage.watch(0, &visitors[2]).await;
    let mut late = stage.watch(1, &visitors[6]).await;
    assert_eq!(early.frame().await["position"], 3);
    assert_eq!(late.frame().await["position"], 7);
    stage.lose(show).await;

    // A newcomer joins before the others come back.
    let newcomer = eventually("the line is open again", SOON, || async {
        let token = stage.token(contract::AccountId::new());
        let answer = stage.post_queue(0, show, &token).await;
        (answer.status.as_u16() == 201).then(|| answer.place())
    })
    .await;
    let proof = stage.place_keys.verify(&newcomer.place_ticket).unwrap();
    assert_eq!(proof.epoch, 2);
    assert!(proof.number > 8, "no number is given out twice");
    for turn in [7, 3, 0, 5, 1, 4] {
        let answer = stage.ask(turn % 2, &visitors[turn]).await;
        assert_eq!(answer.place().state, PlaceState::Waiting);
    }
    eventually("everybody is back in place", SOON, || async {
        for (turn, visitor) in visitors.iter().enumerate() {
            let place = stage.look(0, visitor).await;
            // No number is told while visitors come back.
            let told = place.position.unwrap_or_default();
            assert!(told <= turn as u64 + 1, "a number rose");
            if (place.position, place.waiting) != (Some(turn as u64 + 1), 9) {
                return None;
            }
        }
        Some(())
    })
    .await;
    for (socket, position) in [(&mut early, 3), (&mut late, 7)] {
        let mut told = 0;
        while told < 3 {
            let frame = socket.frame_of("position").await;
            if !frame["position"].is_null() {
                assert_eq!(frame["position"], position);
                told += 1;
            }
        }
    }

    stage.set(show, "room_paused = false").await;
    eventually("all are admitted", SOON, || async {
        (stage.admitted(show).await.len() == 9).then_some(())
    })
    .await;
    // Two nodes admit, and one may log later than the other, so the order is that of taking
    // visitors from the line.
    let tickets = visitors.iter().map(|visitor| &visitor.place_ticket);
    let ranks = tickets.chain([&newcomer.place_ticket]).map(|ticket| {
        let place = stage.place_keys.verify(ticket).unwrap();
        place.stretch.unwrap().base + place.number
    });
    assert_eq!(stage.taken(show).await, ranks.collect::<Vec<_>>());
}

/// Each node remembers the last number it told itself, which may be larger than another's.
#[tokio::test]
async fn while_no_number_is_told_the_last_one_stays_in_the_place_ticket() {
    let stage = Stage::new(2).await;
    let show = stage.show(Plan::default()).await;
    for _ in 0..3 {
        stage.join(0, show).await;
    }
    let mut visitor = stage.join(0, show).await;
    let first = stage.look(0, &visitor).await;
    assert_eq!(first.ahead, Some(3));
    visitor.place_ticket = first.place_ticket;
    stage.lose(show).await;
    let told = |ticket: &str| stage.place_keys.verify(ticket).unwrap().told;
    eventually("the line is open again", SOON, || async {
        let answer = stage.ask(1, &visitor).await;
        (answer.status.as_u16() == 200).then_some(())
    })
    .await;
    let looked = stage.look(1, &visitor).await;
    assert_eq!((looked.ahead, told(&looked.place_ticket)), (None, Some(3)), "too late to tell");
    let (queue, body) = (
        format!("/shows/{show}/queue"),
        format!("{{\"placeTicket\":\"{}\"}}", visitor.place_ticket),
    );
    let joined =
        stage.call(1, Method::POST, &queue, Some(&visitor.token), Some(&body)).await.place();
    assert_eq!((joined.ahead, told(&joined.place_ticket)), (None, Some(3)));
}

#[tokio::test]
async fn who_was_admitted_stays_admitted_after_a_loss() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { paused: false, ..Plan::default() }).await;
    let visitor = stage.join(0, show).await;
    stage.until(0, &visitor, PlaceState::Admitted).await;
    stage.lose(show).await;
    let place = stage.look(0, &visitor).await;
    assert_eq!(place.state, PlaceState::Admitted);
    assert!(place.pass.is_some());
    let body = format!("{{\"placeTicket\": \"{}\"}}", visitor.place_ticket);
    let path = format!("/shows/{show}/queue");
    let again = stage.call(0, Method::POST, &path, Some(&visitor.token), Some(&body)).await;
    assert_eq!((again.status.as_u16(), again.place().ticket_id), (200, visitor.ticket));
    assert_eq!(stage.admitted(show).await.len(), 1);
}

#[tokio::test]
async fn long_after_a_loss_nobody_is_looked_for_in_the_log_any_more() {
    measure();
    let stage = Stage::with(1, |line| {
        line.pass_seconds = 1;
        line.rebuild_seconds = 1;
    })
    .await;
    let show = stage.show(Plan::default()).await;
    stage.join(0, show).await;
    stage.lose(show).await;
    let asked = || measured("usher_line_asked_after_loss_total", "");
    let joins = async || {
        let token = stage.token(contract::AccountId::new());
        stage.post_queue(0, show, &token).await.status.as_u16() == 201
    };
    eventually("somebody joins after the loss", SOON, || async { joins().await.then_some(()) })
        .await;
    assert!(asked() >= 1.0, "whoever was let in before may come without a ticket");
    eventually("every pass of before the loss is over", SOON * 2, || async {
        let before = asked();
        (joins().await && asked() <= before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_absent_visitor_is_skipped_and_loses_the_place_after_the_grace() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { rate: 1.0, burst: 1, ..Plan::default() }).await;
    let (away, back, here) =
        (stage.join(0, show).await, stage.join(0, show).await, stage.join(0, show).await);
    // The sweep sees one visitor silent beyond the grace, and one within it.
    let mut redis = stage.redis.clone();
    eventually("the first sweep is over", SOON, || async {
        let mut redis = stage.redis.clone();
        let swept: Option<String> = redis::cmd("HGET")
            .arg(Stage::key(show, "head"))
            .arg("swept_at")
            .query_async(&mut redis)
            .await
            .unwrap();
        swept
    })
    .await;
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let () = redis::pipe()
        .hset(Stage::key(show, "head"), "lenient_until", 0)
        .zadd(Stage::key(show, "seen"), away.ticket.to_string(), 1)
        .zadd(Stage::key(show, "seen"), back.ticket.to_string(), (seconds - 60) * 1000)
        .query_async(&mut redis)
        .await
        .unwrap();
    stage.until(0, &here, PlaceState::Waiting).await;
    eventually("the one who was away too long is out", SOON, || async {
        (stage.look(0, &here).await.position == Some(2)).then_some(())
    })
    .await;
    assert_eq!(stage.look(0, &away).await.state, PlaceState::Expired);
    stage.set(show, "room_paused = false").await;
    stage.until(0, &here, PlaceState::Admitted).await;
    // A visitor who is back within the grace has the old place, at the head.
    let place = stage.look(0, &back).await;
    assert_eq!((place.state, place.position), (PlaceState::Waiting, Some(1)));
    stage.until(0, &back, PlaceState::Admitted).await;
}

#[tokio::test]
async fn a_ticket_of_another_time_does_not_overtake() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let first = stage.join(0, show).await;
    let left = stage.join(0, show).await;
    stage.leave(0, &left).await;
    let body = format!("{{\"placeTicket\": \"{}\"}}", left.place_ticket);
    let path = format!("/shows/{show}/queue");
    let third = stage.join(0, show).await;
    let again = stage.call(0, Method::POST, &path, Some(&left.token), Some(&body)).await;
    assert_eq!(again.status.as_u16(), 201, "a place that was given back is gone");
    assert_eq!(again.place().position, Some(3));
    // A signed number that was never given out proves nothing.
    let place = stage.place_keys.verify(&first.place_ticket).unwrap();
    let absurd = Place { ticket: contract::TicketId::new(), number: 1 << 60, ..place };
    let signed = stage.place_keys.sign(&absurd);
    let ask = format!("/shows/{show}/queue/{}?placeTicket={signed}", absurd.ticket);
    let answer = stage.call(0, Method::GET, &ask, None, None).await;
    assert_eq!(answer.place().state, PlaceState::Expired);
    assert_eq!(stage.look(0, &third).await.position, Some(2));
}

#[tokio::test]
async fn while_redis_is_away_sockets_stay_open_and_say_so() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { rate: 1.0, burst: 1, ..Plan::default() }).await;
    stage.set(show, "room_paused = false, room_max_active = 1").await;
    let (_first, second) = (stage.join(0, show).await, stage.join(0, show).await);
    let mut socket = stage.watch(0, &second).await;
    while socket.frame().await["position"] != 1 {}
    stage.proxy.cut();
    let answer = eventually("an answer without redis", SOON, || async {
        let answer = stage.ask(0, &second).await;
        (answer.status.as_u16() != 200).then_some(answer)
    })
    .await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "LINE_UNAVAILABLE"));
    assert!(answer.headers.contains_key("retry-after"));
    socket.frame_of("paused").await;
    stage.proxy.heal();
    socket.frame_of("resumed").await;
    assert_eq!(socket.frame_of("position").await["position"], 1);
    stage.set(show, "room_max_active = null").await;
    socket.frame_of("admitted").await;
}
