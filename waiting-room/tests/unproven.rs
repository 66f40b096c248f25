//! Requests without a proof of a place, and the cost of empty lines.

use std::time::Duration;

use contract::{AccountId, TicketId};
use futures_util::future::join_all;
use reqwest::Method;
use testing::eventually;

use crate::harness::{Plan, SOON, Stage};

/// Whether this is the lookup of lines with visitors, which runs every two seconds.
fn is_look(command: &str) -> bool {
    command.contains("\"EXISTS\"")
}

#[tokio::test]
async fn whoever_proves_no_place_makes_no_line() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let token = stage.token(AccountId::new());
    let path = format!("/shows/{show}/queue/{}", TicketId::new());
    for (method, token, status) in [
        (Method::DELETE, None, 401),
        (Method::GET, None, 401),
        (Method::GET, Some(token.as_str()), 404),
        (Method::DELETE, Some(token.as_str()), 404),
    ] {
        let answer = stage.call(0, method, &path, token, None).await;
        assert_eq!(answer.status.as_u16(), status);
    }
    let commands = stage.commands_of(show, Duration::from_secs(3)).await;
    let others: Vec<_> = commands.iter().filter(|command| !is_look(command)).collect();
    assert!(others.is_empty(), "{} commands for nobody, such as {}", others.len(), others[0]);
    assert!(commands.len() <= 3, "{commands:?}");
}

#[tokio::test]
async fn a_challenge_that_is_not_solved_makes_no_line() {
    let stage =
        Stage::with(1, |line| line.challenge = waiting_room::ChallengeKind::ProofOfWork).await;
    let show = stage.show(Plan::default()).await;
    let token = stage.token(AccountId::new());
    assert_eq!(stage.post_queue(0, show, &token).await.code(), "CHALLENGE_REQUIRED");
    let commands = stage.commands_of(show, Duration::from_secs(3)).await;
    assert!(commands.iter().all(|command| is_look(command)), "{commands:?}");
}

#[tokio::test]
async fn places_that_nobody_gave_out_are_looked_up_at_a_bounded_rate() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    let tokens: Vec<_> = (0..40).map(|_| stage.token(AccountId::new())).collect();
    let begun = std::time::Instant::now();
    let stage = &stage;
    let asked = tokens.iter().flat_map(|token| {
        (0..10).map(move |_| async move {
            let path = format!("/shows/{show}/queue/{}", TicketId::new());
            stage.call(0, Method::GET, &path, Some(token), None).await.status.as_u16()
        })
    });
    let answers = join_all(asked).await;
    let looked_up = answers.iter().filter(|status| **status == 404).count();
    let refused = answers.iter().filter(|status| **status == 503).count();
    assert_eq!(looked_up + refused, 400, "{answers:?}");
    // A burst of fifty, and fifty per second.
    let bound = 50.0 + 50.0 * begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let looked_up = looked_up as f64;
    assert!(looked_up <= bound + 1.0, "{looked_up} looked up, at most {bound}");
    // A visitor with a place ticket is served meanwhile.
    assert_eq!(stage.look(0, &visitor).await.position, Some(1));
    // One account that asks too often is refused alone.
    let token = stage.token(AccountId::new());
    let path = &format!("/shows/{show}/queue/{}", TicketId::new());
    let token = &token;
    let hammered = (0..120).map(|_| stage.call(0, Method::GET, path, Some(token), None));
    let hammered = join_all(hammered).await;
    let limited = hammered.iter().find(|answer| answer.code() == "RATE_LIMITED");
    assert!(limited.unwrap().headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_line_that_nobody_is_in_any_more_costs_nothing_and_opens_for_the_next() {
    let stage = Stage::with(2, |line| line.grace_seconds = 1).await;
    let show = stage.show(Plan::default()).await;
    let visitor = stage.join(0, show).await;
    eventually("both nodes tend it", SOON, || async {
        let key = Stage::key(show, "nodes");
        let mut redis = stage.redis.clone();
        let known: usize = redis::cmd("ZCARD").arg(key).query_async(&mut redis).await.unwrap();
        (known == 2).then_some(())
    })
    .await;
    stage.leave(0, &visitor).await;
    eventually("nobody tends it", Duration::from_secs(40), || async {
        let commands = stage.commands_of(show, Duration::from_secs(2)).await;
        commands.iter().all(|command| is_look(command)).then_some(())
    })
    .await;
    let (next, place) = stage.join_new(1, show).await;
    assert_eq!(place.position, Some(1));
    let number = |ticket: &str| stage.place_keys.verify(ticket).unwrap().number;
    assert_eq!(number(&next.place_ticket), number(&visitor.place_ticket) + 1);
    let mut socket = stage.watch(0, &next).await;
    stage.set(show, "room_paused = false").await;
    socket.frame_of("admitted").await;
}
