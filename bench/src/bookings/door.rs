//! How fast ingress refuses bookings of a show without free seats, beside the least that its HTTP
//! server can answer.

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
use tokio::{task::JoinSet, time::Instant};

use super::sender::{self, Server, Wanted};

const CLIENTS: usize = 64;
const MEASURED_FOR: Duration = Duration::from_millis(1_500);

/// Answers per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    /// 409 for bookings of a show without free seats.
    pub(super) refusals_per_second: f64,
    /// `GET /healthz`.
    pub(super) healthz_per_second: f64,
}

impl Door {
    /// Measures at the node on this port. The visitors ask in turn for a show that has no free
    /// seat; too many requests of one visitor are refused by their number and do not count. They have
    /// no key: that a key is new is not known for two minutes after Redis has begun to remember keys.
    pub(super) async fn measure(port: u16, visitors: Vec<Wanted>) -> anyhow::Result<Self> {
        let n = visitors.len();
        let booking = move |at: usize| sender::request(at % n, &visitors[at % n], None);
        let refusals_per_second = answered(port, StatusCode::CONFLICT, booking).await?;
        let healthz = |_| {
            let request = Request::get("/healthz").header("host", "localhost");
            Ok(request.body(Full::default())?)
        };
        let healthz_per_second = answered(port, StatusCode::OK, healthz).await?;
        Ok(Self { refusals_per_second, healthz_per_second })
    }
}

/// Sends requests, the next when the last one is answered, and counts answers with this status.
async fn answered(
    port: u16,
    expected: StatusCode,
    request: impl Fn(usize) -> anyhow::Result<Request<Full<Bytes>>> + Send + Sync + 'static,
) -> anyhow::Result<f64> {
    let (request, sent) = (Arc::new(request), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (request, sent) = (Arc::clone(&request), Arc::clone(&sent));
        clients.spawn(async move {
            let (mut server, mut n) = (Server::connect(port).await?, 0);
            while began.elapsed() < MEASURED_FOR {
                let at = sent.fetch_add(1, Ordering::Relaxed);
                match server.ask(request(at)?).await? {
                    (status, _) if status == expected => n += 1,
                    (StatusCode::TOO_MANY_REQUESTS, _) => {}
                    (status, answer) => {
                        bail!("{status}, not {expected}: {}", String::from_utf8_lossy(&answer));
                    }
                }
            }
            anyhow::Ok(n)
        });
    }
    let mut n = 0;
    while let Some(client) = clients.join_next().await {
        n += client??;
    }
    ensure!(n > 0, "no answer was {expected}");
    Ok(float(n) / began.elapsed().as_secs_f64())
}
