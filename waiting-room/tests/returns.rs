//! The times at which visitors of a stopping node come back.

use std::{collections::HashMap, time::Duration};

use contract::api::socket::close;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    harness::{Plan, Stage},
    socket::Heard,
};

const SOCKETS: usize = 150;
const STREAMS: usize = 50;
const GRID: Duration = Duration::from_millis(100);

/// The largest share of returns within 100 ms.
fn most_together(returns: &[Instant], since: Instant) -> f64 {
    let mut together: HashMap<u128, u32> = HashMap::new();
    for at in returns {
        *together.entry((*at - since).as_millis() / GRID.as_millis()).or_default() += 1;
    }
    let most = together.values().max().copied().unwrap_or(0);
    f64::from(most) / f64::from(u32::try_from(returns.len()).unwrap())
}

#[tokio::test]
async fn whoever_a_stopping_node_sends_away_is_told_a_moment_of_its_own() {
    let stage = Stage::new(1).await;
    let show = stage.show(Plan::default()).await;
    let visitors = join_all((0..SOCKETS + STREAMS).map(|_| stage.join(0, show))).await;
    let (by_socket, by_stream) = visitors.split_at(SOCKETS);
    let mut sockets = join_all(by_socket.iter().map(|who| stage.watch(0, who))).await;
    for socket in &mut sockets {
        socket.frame_of("position").await;
    }
    let streams = join_all(by_stream.iter().map(|who| async {
        let url = format!("http://{}/api/v1/shows/{show}/queue/{}", stage.nodes[0], who.ticket);
        let request = reqwest::Client::new().get(url).header("accept", "text/event-stream");
        let mut answer = request.header("place-ticket", &who.place_ticket).send().await.unwrap();
        let mut text = String::new();
        while !text.contains("data:") {
            text.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
        }
        let retry = text.lines().find_map(|line| line.strip_prefix("retry:")).expect("a retry");
        (answer, Duration::from_millis(retry.trim().parse().unwrap()))
    }))
    .await;

    let since = Instant::now();
    stage.stop_node(0);
    let mut returns = join_all(sockets.iter_mut().map(|socket| async {
        loop {
            if let Heard::Closed(code, reason) = socket.hear().await {
                assert_eq!(code, close::DRAIN, "{reason}");
                let wait = close::retry_in(&reason).unwrap_or_else(|| panic!("when? {reason}"));
                return Instant::now() + wait;
            }
        }
    }))
    .await;
    returns.extend(
        join_all(streams.into_iter().map(|(mut answer, retry)| async move {
            while let Ok(Some(_)) = answer.chunk().await {}
            Instant::now() + retry
        }))
        .await,
    );
    assert_eq!(returns.len(), SOCKETS + STREAMS);
    let most = most_together(&returns, since);
    assert!(most <= 0.2, "{most} of them come back within a tenth of a second");
    let last = returns.iter().max().unwrap();
    assert!(*last - since < Duration::from_secs(20), "nobody is kept away for long");
}
