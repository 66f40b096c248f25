//! The shows of a run, with few seats for many buyers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use contract::{
    AccountId, ShowId,
    access::{AccessKeys, Role},
    api::catalogue::{Movie, RoomMode, RoomSettings, Screen, Show, Theatre},
    keys::MasterKey,
    topology::Partition,
};
use platform::clock;
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use store::Pool;
use testing::show::{self, Plan, Tier};
use tokio::time::{Instant, sleep};

use crate::{
    api::{Api, Call},
    fleet::Service,
};

/// Short enough that holds and orders lapse within a run.
pub const HOLD_SECONDS: u16 = 4;
pub const ORDER_SECONDS: i32 = 6;
pub const PER_USER: i32 = 6;
/// Admissions per second of the show with a line.
pub const RATE_PER_SECOND: f64 = 25.0;
pub const BURST: i32 = 5;

const ROW: usize = 10;
const OPEN_WAIT: Duration = Duration::from_mins(1);

/// A show of the run.
#[derive(Clone, Debug)]
pub struct Hall {
    pub show: ShowId,
    pub has_line: bool,
    pub purpose: Purpose,
    pub tiers: Vec<HallTier>,
}

/// What happens to a show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The crowd books it to the end.
    Sold,
    /// The crowd books it until its sale is closed.
    EndsEarly,
    /// Only the nemesis books it, so that it knows what is in the queue.
    Aside,
}

/// An account and its token.
pub type AccountToken = (AccountId, String);

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
pub async fn tokens(
    pool: &Pool,
    master: &MasterKey,
    n: usize,
) -> anyhow::Result<Vec<AccountToken>> {
    let keys = AccessKeys::new(master);
    let tokens = usher::seed::tokens(pool, master, n).await?;
    let now = clock::now();
    let named = tokens.into_iter().map(|token| {
        let caller = keys.verify(&token, now).context("a fresh token is refused")?;
        Ok((caller.account, token))
    });
    named.collect()
}

/// Which shows a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halls {
    /// One show with two tiers and without a line, and one show with a line.
    Several,
    /// One show with one tier and without a line.
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
        return Ok(vec![hall(api, RoomMode::Off, &[("STANDARD", 'A', seats)]).await?]);
    }
    let (most, few) = (seats * 6 / 10, seats * 2 / 10);
    let rush = hall(api, RoomMode::Off, &[("STANDARD", 'A', most), ("PREMIUM", 'S', few)]).await?;
    let lined = hall(api, RoomMode::Fifo, &[("STANDARD", 'A', few)]).await?;
    let mut opened = vec![rush, lined];
    for purpose in more {
        let hall = hall(api, RoomMode::Off, &[("STANDARD", 'A', few)]).await?;
        opened.push(Hall { purpose: *purpose, ..hall });
    }
    Ok(opened)
}

/// The token of a new administrator.
pub async fn admin(pool: &Pool, master: &MasterKey) -> String {
    let id = testing::account(pool, Role::Admin).await;
    testing::token(master, id, Role::Admin)
}

async fn hall(
    api: &Api,
    mode: RoomMode,
    tiers: &[(&'static str, char, u32)],
) -> anyhow::Result<Hall> {
    let seated =
        |(code, first, n): &(&str, char, u32)| Tier::seated(code, *first, *n as usize, ROW);
    let plan = Plan {
        tiers: tiers.iter().map(seated).collect(),
        room: RoomSettings {
            mode,
            rate_per_second: RATE_PER_SECOND,
            burst: BURST,
            ..RoomSettings::default()
        },
        per_user: PER_USER,
        hold_seconds: HOLD_SECONDS.into(),
        order_seconds: ORDER_SECONDS,
        ..Plan::default()
    };
    let movie: Movie = created(api, "/movies", &show::movie()).await?;
    let theatre: Theatre = created(api, "/theatres", &show::theatre()).await?;
    let screen: Screen = created(api, "/screens", &plan.screen(theatre.theatre_id)).await?;
    let details = plan.show(movie.movie_id, theatre.theatre_id, screen.screen_id);
    // Asked again where the answer was lost, it would be in its own way.
    let Show { show_id: show, .. } = created(api, "/shows?overlap=allow", &details).await?;
    await_open(api, show).await?;
    let hall_tiers = tiers.iter().zip(&plan.tiers).map(|((tier, ..), seated)| {
        let seats = seated.seats().map(ToString::to_string).collect();
        HallTier { tier, seats }
    });
    let (has_line, tiers) = (mode != RoomMode::Off, hall_tiers.collect());
    Ok(Hall { show, has_line, purpose: Purpose::Sold, tiers })
}

async fn await_open(api: &Api, show: ShowId) -> anyhow::Result<()> {
    let until = Instant::now() + OPEN_WAIT;
    let (open, look) = (format!("/shows/{show}/open"), format!("/shows/{show}"));
    while Instant::now() < until {
        let opening = Call::new(Service::Ingress, Method::POST, &open).body(json!({}));
        let _ = api.call(&opening).await;
        let seen = api.call(&Call::new(Service::Ingress, Method::GET, &look)).await;
        if seen.is_some_and(|show| show.body["status"] == "ON_SALE") {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
    ensure!(false, "show {show} did not open within {OPEN_WAIT:?}");
    Ok(())
}

/// Makes something by a POST, repeated until it works, since services may still be starting.
async fn created<T: DeserializeOwned>(
    api: &Api,
    path: &str,
    details: &impl Serialize,
) -> anyhow::Result<T> {
    let until = Instant::now() + OPEN_WAIT;
    loop {
        let call = Call::new(Service::Ingress, Method::POST, path).body(json!(details));
        let answer = api.call(&call).await;
        if let Some(answer) = &answer
            && answer.status == 201
        {
            return serde_json::from_value(answer.body.clone())
                .context("the answer has an unexpected body");
        }
        ensure!(Instant::now() < until, "POST {path} was not answered 201: {answer:?}");
        sleep(Duration::from_millis(200)).await;
    }
}
