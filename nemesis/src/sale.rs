//! The shows of a run: few seats, many who want them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use contract::{
    AccountId, ShowId,
    access::{AccessKeys, Caller, Role as Rights},
    keys::MasterKey,
    topology::Partition,
};
use platform::clock;
use reqwest::Method;
use serde_json::{Value, json};
use store::PgPool;
use tokio::time::{Instant, sleep};

use crate::{
    api::{Api, Call},
    fleet::Role,
};

/// Short enough that holds and orders lapse within a run.
pub const HOLD_SECONDS: u32 = 4;
pub const ORDER_SECONDS: u32 = 6;
pub const PER_USER: u32 = 6;
/// Of the show with a line.
pub const RATE_PER_SECOND: f64 = 25.0;
pub const BURST: u32 = 5;

const ROW: u32 = 10;
const OPEN_WAIT: Duration = Duration::from_mins(1);

/// A show that is sold.
#[derive(Clone, Debug)]
pub struct Hall {
    pub show: ShowId,
    pub has_line: bool,
    pub purpose: Purpose,
    pub tiers: Vec<HallTier>,
}

/// What is to become of a show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The crowd buys it to the end.
    Sold,
    /// The crowd buys it until its sale is closed.
    EndsEarly,
    /// Nobody books it but the nemesis, who knows what is in its queue.
    Aside,
}

/// An account and its token.
pub type Ticket = (AccountId, String);

#[derive(Clone, Debug)]
pub struct HallTier {
    pub tier: &'static str,
    pub seats: Vec<String>,
}

impl Hall {
    pub fn n_seats(&self) -> usize {
        self.tiers.iter().map(|tier| tier.seats.len()).sum()
    }

    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.tiers.iter().map(|tier| Partition {
            show: self.show,
            tier: tier.tier.parse().expect("the tiers of this program are well-formed"),
        })
    }
}

/// Makes accounts without hashing passwords, with their tokens.
pub async fn tokens(pool: &PgPool, master: &MasterKey, n: usize) -> anyhow::Result<Vec<Ticket>> {
    let keys = AccessKeys::new(master);
    let tokens = usher::seed::tokens(pool, master, n).await?;
    let now = clock::now();
    let named = tokens.into_iter().map(|token| {
        let caller = keys.verify(&token, now).context("a fresh token is good")?;
        Ok((caller.account, token))
    });
    named.collect()
}

/// Which shows a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halls {
    /// One that everybody may book, in two tiers, and one behind a line.
    Several,
    /// One tier that everybody may book.
    OnePartition,
}

/// Opens the shows of a run.
pub async fn open(
    api: &Api,
    halls: Halls,
    seats: u32,
    more: &[Purpose],
) -> anyhow::Result<Vec<Hall>> {
    if halls == Halls::OnePartition {
        return Ok(vec![hall(api, "OFF", &[("STANDARD", 'A', seats)]).await?]);
    }
    let (most, few) = (seats * 6 / 10, seats * 2 / 10);
    let rush = hall(api, "OFF", &[("STANDARD", 'A', most), ("PREMIUM", 'S', few)]).await?;
    let lined = hall(api, "FIFO", &[("STANDARD", 'A', few)]).await?;
    let mut opened = vec![rush, lined];
    for purpose in more {
        let hall = hall(api, "OFF", &[("STANDARD", 'A', few)]).await?;
        opened.push(Hall { purpose: *purpose, ..hall });
    }
    Ok(opened)
}

/// The token of a new administrator.
pub async fn admin(pool: &PgPool, master: &MasterKey) -> anyhow::Result<String> {
    let id = AccountId::new();
    sqlx::query(
        "insert into accounts (account_id, name, email, password_hash, role)
         values ($1, 'Box Office', $2, 'x', 'admin')",
    )
    .bind(id.0)
    .bind(format!("{id}@office.example"))
    .execute(pool)
    .await?;
    let expires_at = clock::now() + Duration::from_hours(12);
    Ok(AccessKeys::new(master).issue(Caller { account: id, role: Rights::Admin }, expires_at))
}

async fn hall(api: &Api, room: &str, tiers: &[(&'static str, char, u32)]) -> anyhow::Result<Hall> {
    let movie = created(
        api,
        "/movies",
        "movieId",
        json!({
            "title": "The Long Monsoon", "description": "It rains.", "genres": ["Drama"],
            "rating": "U", "durationMinutes": 121, "releaseDate": "2026-01-15", "language": "Hindi",
        }),
    )
    .await?;
    let theatre = created(
        api,
        "/theatres",
        "theatreId",
        json!({
            "name": "Regal", "address": "1 Station Road", "city": "Pune",
            "latitude": 18.52, "longitude": 73.85,
        }),
    )
    .await?;
    let (mut rows, mut hall_tiers) = (Vec::new(), Vec::new());
    for (tier, first, n) in tiers {
        let mut labels = Vec::new();
        for at in (0..*n).step_by(ROW as usize) {
            let offset = u8::try_from(at / ROW)?;
            let row = char::from(u8::try_from(*first)? + offset);
            let seats: Vec<String> =
                (at..(at + ROW).min(*n)).map(|s| format!("{row}{}", s % ROW + 1)).collect();
            let seats_json: Vec<Value> =
                seats.iter().map(|seat| json!({"seatId": seat, "tier": tier})).collect();
            rows.push(json!({"row": row.to_string(), "seats": seats_json}));
            labels.extend(seats);
        }
        hall_tiers.push(HallTier { tier, seats: labels });
    }
    let named: Vec<Value> = tiers
        .iter()
        .map(|(tier, _, n)| json!({"tier": tier, "name": tier, "generalAdmission": false, "capacity": n}))
        .collect();
    let screen = created(
        api,
        "/screens",
        "screenId",
        json!({
            "theatreId": theatre, "name": "Screen 1", "tiers": named, "layout": {"rows": rows},
        }),
    )
    .await?;
    let now = clock::now();
    let hours = Duration::from_hours;
    let prices: Vec<Value> = tiers
        .iter()
        .map(|(tier, ..)| json!({"tier": tier, "amount": 25_000, "currency": "INR"}))
        .collect();
    let show: ShowId = created(api, "/shows", "showId", json!({
        "movieId": movie, "theatreId": theatre, "screenId": screen,
        "startsAt": now + hours(48), "saleOpensAt": now - hours(1), "saleClosesAt": now + hours(24),
        "prices": prices, "maxSeatsPerUser": PER_USER,
        "holdSeconds": HOLD_SECONDS, "orderSeconds": ORDER_SECONDS,
        "waitingRoom": {"mode": room, "ratePerSecond": RATE_PER_SECOND, "burst": BURST},
    }))
    .await?
    .parse()?;
    await_open(api, show).await?;
    Ok(Hall { show, has_line: room != "OFF", purpose: Purpose::Sold, tiers: hall_tiers })
}

async fn await_open(api: &Api, show: ShowId) -> anyhow::Result<()> {
    let until = Instant::now() + OPEN_WAIT;
    let (open, look) = (format!("/shows/{show}/open"), format!("/shows/{show}"));
    while Instant::now() < until {
        let opening = Call::new(Role::Ingress, Method::POST, &open).body(json!({}));
        let _ = api.call(&opening).await;
        let seen = api.call(&Call::new(Role::Ingress, Method::GET, &look)).await;
        if seen.is_some_and(|show| show.body["status"] == "ON_SALE") {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
    ensure!(false, "show {show} did not open within {OPEN_WAIT:?}");
    Ok(())
}

/// Makes something, as often as it takes: no fault is in play yet, but services may be starting.
async fn created(api: &Api, path: &str, id: &str, body: Value) -> anyhow::Result<String> {
    let until = Instant::now() + OPEN_WAIT;
    loop {
        let answer =
            api.call(&Call::new(Role::Ingress, Method::POST, path).body(body.clone())).await;
        if let Some(answer) = &answer
            && answer.status == 201
        {
            return answer.body[id].as_str().map(ToOwned::to_owned).context("it has an id");
        }
        ensure!(Instant::now() < until, "POST {path} was not answered 201: {answer:?}");
        sleep(Duration::from_millis(200)).await;
    }
}
