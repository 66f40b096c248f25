//! How soon a booking is accepted, and how soon its visitor is told the outcome, while bookings come
//! at half of the rate at which they are accepted at most.

use std::time::Duration;

use anyhow::Context as _;
use contract::api::bookings::BookingFrame;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper::StatusCode;
use loadtest::{Client, fresh_key, socket::Socket};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    asking::at_rate,
    house::House,
    sender::{self, Wanted},
    times::Times,
};

/// Most visitors, each with a socket and one booking.
const VISITORS_MAX: usize = 3_000;
/// The first of so many parts of the bookings does not count: a session begins with it.
const WARM_UP: usize = 10;
const OPENED_AT_ONCE: usize = 64;
const TOLD_WAIT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    /// From the request to the answer 202.
    pub(super) accepted: Times,
    /// From the request to the frame with the outcome, over WebSocket.
    pub(super) told: Times,
}

impl Latency {
    /// Sends bookings at this rate, each of another visitor who has a socket open.
    pub(super) async fn measure(
        house: &House,
        visitors: &[Wanted],
        per_second: f64,
    ) -> anyhow::Result<Self> {
        let visitors = &visitors[..visitors.len().min(VISITORS_MAX)];
        let places = i32::try_from(visitors.len())?;
        let (_, wanted) = house.lawn("Terrace", places, visitors).await?;
        let client = Client::new(&house.notifier())?;
        let sockets: Vec<Socket> = stream::iter(wanted.clone())
            .map(|visitor| open_socket(&client, visitor))
            .buffered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        let mut hearing = JoinSet::new();
        for (at, socket) in sockets.into_iter().enumerate() {
            hearing.spawn(async move { anyhow::Ok((at, first_frame(socket).await?)) });
        }
        let n = wanted.len();
        let request = move |at: usize| sender::request(at, &wanted[at], Some(&fresh_key()), 0);
        let answered = at_rate(house.ingress(), per_second, n, StatusCode::ACCEPTED, request);
        let mut answered = answered.await?;
        answered.sort_unstable_by_key(|answer| answer.at);
        let (mut told, until) = (Vec::with_capacity(n), Instant::now() + TOLD_WAIT);
        while let Some(heard) =
            timeout_at(until, hearing.join_next()).await.context("an outcome was not told")?
        {
            let (at, heard) = heard??;
            if at >= n / WARM_UP {
                told.push(heard.saturating_duration_since(answered[at].from));
            }
        }
        let counted = answered.iter().filter(|answer| answer.at >= n / WARM_UP);
        let accepted = counted.map(|answer| answer.took).collect();
        Ok(Self { accepted: Times::of(accepted), told: Times::of(told) })
    }
}

async fn open_socket(client: &Client, visitor: Wanted) -> anyhow::Result<Socket> {
    let credential = format!("bearer.{}", visitor.token);
    Ok(Socket::open(client, "/api/v1/live", &credential).await?)
}

/// When the first frame came.
async fn first_frame(mut socket: Socket) -> anyhow::Result<Instant> {
    let frame: Option<BookingFrame> = socket.next().await?;
    let heard = Instant::now();
    frame.context("a socket was closed before the outcome")?;
    Ok(heard)
}
