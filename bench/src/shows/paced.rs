//! Bookings at an even pace, each timed from its submission to its outcome.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, bail};
use contract::{
    BookingId, ShowId, TierCode,
    api::bookings::{Booking, NewBooking},
    booking::Status,
};
use loadtest::{BookAnswer, Client, fresh_key};
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

/// Seconds that the server is asked to wait for an outcome.
const OUTCOME_WAIT: u8 = 30;
/// First of the addresses that visitors claim: one each, so that limits by address can stay on.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 0, 0, 1]);

/// The busy show.
pub(super) struct Busy {
    pub(super) client: Client,
    pub(super) show: ShowId,
    pub(super) tiers: Vec<TierCode>,
}

/// How long outcomes took.
#[derive(Debug, Serialize)]
pub(super) struct OutcomeTimes {
    pub(super) bookings: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Calls sent again because the server was too busy or did not answer.
    pub(super) repeats: u64,
}

/// Tokens of visitors who have not booked yet.
pub(super) struct Tokens {
    tokens: std::vec::IntoIter<String>,
    sent: u32,
}

impl Tokens {
    pub(super) fn new(tokens: Vec<String>) -> Self {
        Self { tokens: tokens.into_iter(), sent: 0 }
    }

    fn next(&mut self, busy: &Busy) -> anyhow::Result<(Client, NewBooking)> {
        let token = self.tokens.next().context("more bookings than visitors")?;
        let client =
            busy.client.signed_in(&token).from_address(Ipv4Addr::from(FIRST_ADDRESS + self.sent));
        let tier = busy.tiers[self.sent as usize % busy.tiers.len()].clone();
        self.sent += 1;
        let wanted = NewBooking { show_id: busy.show, tier, seats: None, quantity: Some(1) };
        Ok((client, wanted))
    }
}

/// Books one place after the other at a rate, for a time, and waits for every outcome.
pub(super) async fn book(
    busy: &Busy,
    tokens: &mut Tokens,
    rate: u16,
    time: Duration,
) -> anyhow::Result<OutcomeTimes> {
    let repeats = busy.client.repeats();
    let mut ticks = interval(Duration::from_secs(1) / u32::from(rate));
    let (until, mut sent) = (Instant::now() + time, JoinSet::new());
    while Instant::now() < until {
        ticks.tick().await;
        let (client, wanted) = tokens.next(busy)?;
        sent.spawn(async move {
            let began = Instant::now();
            let booking = submit(&client, &wanted).await?;
            outcome(&client, booking).await?;
            anyhow::Ok(began.elapsed())
        });
    }
    let mut took = Vec::with_capacity(sent.len());
    while let Some(one) = sent.join_next().await {
        took.push(one??.as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    let at =
        |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
    Ok(OutcomeTimes {
        bookings: took.len(),
        p50_ms: at(50).copied().unwrap_or_default(),
        p99_ms: at(99).copied().unwrap_or_default(),
        repeats: busy.client.repeats() - repeats,
    })
}

/// Sends bookings without waiting for their outcomes.
pub(super) async fn send(
    busy: &Busy,
    tokens: &mut Tokens,
    n: usize,
) -> anyhow::Result<Vec<(Client, BookingId)>> {
    let mut sent = Vec::with_capacity(n);
    for _ in 0..n {
        let (client, wanted) = tokens.next(busy)?;
        let booking = submit(&client, &wanted).await?;
        sent.push((client, booking));
    }
    Ok(sent)
}

/// Waits for the outcomes of these bookings.
pub(super) async fn decided(sent: Vec<(Client, BookingId)>) -> anyhow::Result<()> {
    let mut waiting = JoinSet::new();
    for (client, booking) in sent {
        waiting.spawn(async move { outcome(&client, booking).await });
    }
    while let Some(one) = waiting.join_next().await {
        one??;
    }
    Ok(())
}

async fn submit(client: &Client, wanted: &NewBooking) -> anyhow::Result<BookingId> {
    match client.book(wanted, None, &fresh_key()).await.context("a booking is not accepted")? {
        BookAnswer::Accepted(accepted) => Ok(accepted.booking_id),
        BookAnswer::Decided(booking) => Ok(booking.booking_id),
    }
}

async fn outcome(client: &Client, id: BookingId) -> anyhow::Result<()> {
    for _ in 0..4 {
        let Booking { status, .. } = client.booking(id, OUTCOME_WAIT).await?;
        if status != Status::Queued {
            return Ok(());
        }
    }
    bail!("booking {id} has no outcome after two minutes")
}
