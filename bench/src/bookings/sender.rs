//! Sends bookings over plain connections, so that the sender takes little of the machine.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use contract::{
    ShowId, TierCode,
    api::{BASE, bookings::NewBooking},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use loadtest::fresh_key;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

/// First of the addresses that visitors claim: one each, so that limits by address can stay on.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 0, 0, 1]);
/// Most tries of one booking.
const TRIES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// One booking to send: who, and where.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) token: String,
    pub(super) show: ShowId,
    pub(super) tier: TierCode,
}

/// What the sender saw.
pub(super) struct Sent {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// Time to the 202 of each booking that was accepted at the first try.
    pub(super) accepted_in: Vec<Duration>,
    /// Requests that were sent again.
    pub(super) repeats: usize,
}

/// Sends every booking, with so many connections at once, until each is accepted.
pub(super) async fn send(port: u16, wanted: Vec<Wanted>, at_once: u16) -> anyhow::Result<Sent> {
    let (wanted, next) = (Arc::new(wanted), Arc::new(AtomicUsize::new(0)));
    let (began, mut senders) = (Instant::now(), JoinSet::new());
    for _ in 0..at_once {
        let (wanted, next) = (Arc::clone(&wanted), Arc::clone(&next));
        senders.spawn(async move {
            let mut server = Server::connect(port).await?;
            let (mut accepted_in, mut repeats) = (Vec::new(), 0);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(booking) = wanted.get(n) else {
                    return anyhow::Ok((accepted_in, repeats));
                };
                match until_accepted(&mut server, port, n, booking).await? {
                    (took, 1) => accepted_in.push(took),
                    (_, tries) => repeats += tries as usize - 1,
                }
            }
        });
    }
    let mut sent = Sent { took: Duration::ZERO, accepted_in: Vec::new(), repeats: 0 };
    while let Some(done) = senders.join_next().await {
        let (accepted_in, repeats) = done??;
        sent.accepted_in.extend(accepted_in);
        sent.repeats += repeats;
    }
    sent.took = began.elapsed();
    Ok(sent)
}

/// The time and the number of tries that it took until the booking was accepted.
async fn until_accepted(
    server: &mut Server,
    port: u16,
    n: usize,
    booking: &Wanted,
) -> anyhow::Result<(Duration, u32)> {
    let key = fresh_key();
    let began = Instant::now();
    for tries in 1..=TRIES_MAX {
        let (status, answer) = server.ask(request(n, booking, Some(&key), 0)?).await?;
        match status {
            StatusCode::ACCEPTED => return Ok((began.elapsed(), tries)),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                tokio::time::sleep(PAUSE).await;
            }
            _ => bail!("a booking was answered {status}: {}", String::from_utf8_lossy(&answer)),
        }
        if server.requests.is_closed() {
            *server = Server::connect(port).await?;
        }
    }
    bail!("a booking was not accepted in {TRIES_MAX} tries")
}

/// The request of the visitor with this number, which waits for its outcome for so many seconds.
pub(super) fn request(
    n: usize,
    booking: &Wanted,
    key: Option<&str>,
    wait: u8,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let tier = booking.tier.clone();
    let wanted = NewBooking { show_id: booking.show, tier, seats: None, quantity: Some(1) };
    let address = Ipv4Addr::from(FIRST_ADDRESS + u32::try_from(n)?);
    let mut request = Request::post(format!("{BASE}/bookings"))
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", booking.token))
        .header("x-forwarded-for", address.to_string())
        .header("prefer", format!("wait={wait}"))
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    Ok(request.body(Full::new(serde_json::to_vec(&wanted)?.into()))?)
}

/// A connection; it ends when it is dropped.
pub(super) struct Server {
    requests: SendRequest<Full<Bytes>>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Server {
    /// Sends a request and reads the whole answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.requests.ready().await.context("the server closed a connection")?;
        let answer =
            self.requests.send_request(request).await.context("the server gave no answer")?;
        Ok((answer.status(), answer.into_body().collect().await?.to_bytes()))
    }

    pub(super) async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut running = JoinSet::new();
        running.spawn(connection);
        Ok(Self { requests, _connection: running })
    }
}
