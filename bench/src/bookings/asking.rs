//! Requests of one kind to one node: how many it answers per second, and how soon at a given rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{bail, ensure};
use http_body_util::Full;
use hyper::{Request, StatusCode, body::Bytes};
use platform::number::float;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{sender::Server, times::within};

const CLIENTS: usize = 64;
const MEASURED_FOR: Duration = Duration::from_millis(1_500);

type Asked = Request<Full<Bytes>>;

/// An answer to one of the requests.
pub(super) struct Answered {
    /// The number of the request.
    pub(super) at: usize,
    /// When it was sent; when it was due, if no client was free to send it then.
    pub(super) from: Instant,
    pub(super) took: Duration,
}

/// Answers with this status per second, with each of 64 clients asking as soon as it is answered.
/// Requests that are refused by their number do not count.
pub(super) async fn per_second(
    port: u16,
    expected: StatusCode,
    request: impl Fn(usize) -> anyhow::Result<Asked> + Send + Sync + 'static,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let next = move |_| (began.elapsed() < MEASURED_FOR).then(Instant::now);
    let answers = answered(port, expected, request, next).await?;
    Ok(float(answers.len()) / began.elapsed().as_secs_f64())
}

/// The time within which 95 of 100 requests are answered that come at this rate, however long the
/// ones before them take.
pub(super) async fn p95_at(
    port: u16,
    per_second: f64,
    expected: StatusCode,
    request: impl Fn(usize) -> anyhow::Result<Asked> + Send + Sync + 'static,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let next = move |at: usize| {
        let due = Duration::from_secs_f64(float(at) / per_second);
        (due < MEASURED_FOR).then(|| began + due)
    };
    let answers = answered(port, expected, request, next).await?;
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    Ok(within(&mut times, 95))
}

/// Sends this many requests at this rate, however long the ones before them take.
pub(super) async fn at_rate(
    port: u16,
    per_second: f64,
    n: usize,
    expected: StatusCode,
    request: impl Fn(usize) -> anyhow::Result<Asked> + Send + Sync + 'static,
) -> anyhow::Result<Vec<Answered>> {
    let began = Instant::now();
    let next =
        move |at: usize| (at < n).then(|| began + Duration::from_secs_f64(float(at) / per_second));
    let answered = answered(port, expected, request, next).await?;
    ensure!(answered.len() == n, "{} of {n} answers were {expected}", answered.len());
    Ok(answered)
}

/// `GET /healthz`: the least that the server can answer.
pub(super) fn healthz(_: usize) -> anyhow::Result<Asked> {
    Ok(Request::get("/healthz").header("host", "localhost").body(Full::default())?)
}

/// Sends request after request, each when `due` says, until it says `None`.
async fn answered(
    port: u16,
    expected: StatusCode,
    request: impl Fn(usize) -> anyhow::Result<Asked> + Send + Sync + 'static,
    due: impl Fn(usize) -> Option<Instant> + Send + Sync + 'static,
) -> anyhow::Result<Vec<Answered>> {
    let (shared, sent) = (Arc::new((request, due)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (shared, sent) = (Arc::clone(&shared), Arc::clone(&sent));
        clients.spawn(async move {
            let (request, due) = &*shared;
            let (mut server, mut answers) = (Server::connect(port).await?, Vec::new());
            loop {
                let at = sent.fetch_add(1, Ordering::Relaxed);
                let Some(mut from) = due(at) else { return anyhow::Ok(answers) };
                if from > Instant::now() {
                    sleep_until(from).await;
                    // A timer is late by up to a millisecond, which is not the server's.
                    from = Instant::now();
                }
                match server.ask(request(at)?).await? {
                    (status, _) if status == expected => {
                        answers.push(Answered { at, from, took: from.elapsed() });
                    }
                    (StatusCode::TOO_MANY_REQUESTS, _) => {}
                    (status, answer) => {
                        bail!("{status}, not {expected}: {}", String::from_utf8_lossy(&answer));
                    }
                }
            }
        });
    }
    let mut answers = Vec::new();
    while let Some(client) = clients.join_next().await {
        answers.extend(client??);
    }
    ensure!(!answers.is_empty(), "no answer was {expected}");
    Ok(answers)
}
