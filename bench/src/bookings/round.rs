//! One sale: a database of its own, services, seats for everybody, and an audit at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use chrono::Days;
use contract::{
    ShowId, TierCode,
    access::Role,
    api::catalogue::{
        Movie, RoomMode, RoomSettings, Screen, ScreenDetails, Show, ShowDetails, Theatre,
    },
    keys::MasterKey,
};
use loadtest::Client;
use reqwest::Url;
use serde_json::Value;
use store::Pool;
use tokio::time::{Instant, sleep};
use usher::seed::{self, hall, shows};

use super::{
    sender::{self, Sent, Wanted},
    settings::Bookings,
};
use crate::{
    console::Console,
    fleet::{Fleet, Running, origin},
    ports, stage,
    usage::{self, Usage},
};

/// Seats of each show.
const SEATS: usize = 10_000;
/// Of ten seats of a tier so many are sold: the last ones may be kept for who needs them.
const SOLD_OF_TEN: u64 = 9;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for the outcomes, by booking, beside half a minute.
const WAIT_PER_BOOKING: Duration = Duration::from_millis(5);

/// The figures of a round.
pub(super) struct Round {
    pub(super) sent: Sent,
    /// From the first request until the last order was in PostgreSQL.
    pub(super) decided_in: Duration,
    /// Processor time until then, by process. Missing where it cannot be read.
    pub(super) cpu: BTreeMap<String, Duration>,
}

/// Plays a sale with the programs in this folder, or with those beside this one.
pub(super) async fn play(
    bench: &Bookings,
    programs: Option<&Path>,
    console: &mut Console,
) -> anyhow::Result<Round> {
    let site = &bench.site;
    let master = MasterKey::parse(&site.master_key)?;
    let database_url = store::pool::empty_beside(&site.database_url, "_bookings").await?;
    let mut fleet = site.fleet(&database_url, &[Ipv4Addr::LOCALHOST])?;
    if let Some(programs) = programs {
        fleet.use_programs(programs);
    }
    run_to_end(&fleet, &["migrate"]).await?;
    let pool = store::connect(&database_url, "bench", 2)?;
    let ports = ports::free(3)?;
    let mut services = Vec::new();
    for (program, port) in ["ingress", "allocator", "notifier"].into_iter().zip(&ports) {
        services.push(fleet.serve(program, program, *port, &[]).await?);
    }
    let admin = testing::token(&master, testing::account(&pool, Role::Admin).await, Role::Admin);
    let admin = Client::new(&origin(ports[0]))?.signed_in(&admin);
    let wanted = wanted(bench, &pool, &master, &admin).await?;
    let shows: BTreeSet<ShowId> = wanted.iter().map(|wanted| wanted.show).collect();
    let (n, before) = (wanted.len(), free_seats(&admin, &shows).await?);

    let used = cpu(bench, &services)?;
    let began = Instant::now();
    let mut sending = std::pin::pin!(sender::send(ports[0], wanted, bench.at_once));
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent?,
            () = sleep(Duration::from_secs(1)) => console.show("bookings are being sent"),
        }
    };
    let wait = WAIT_PER_BOOKING * u32::try_from(n)? + Duration::from_secs(30);
    loop {
        let decided = before - free_seats(&admin, &shows).await?;
        if decided == n as u64 {
            break;
        }
        console.show(&format!("{decided} of {n} bookings are decided"));
        if sent.took + wait < began.elapsed() {
            bail!("{decided} of {n} bookings are decided {wait:?} after the last was sent");
        }
        services.iter_mut().try_for_each(Running::check)?;
        sleep(LOOK_EVERY).await;
    }
    let decided_in = began.elapsed();
    let mut cpu = cpu(bench, &services)?;
    for (name, before) in used {
        cpu.entry(name).and_modify(|now| *now = now.saturating_sub(before));
    }
    // The audit of an old version gives up on this many bookings.
    if programs.is_none() {
        run_to_end(&fleet, &["audit"]).await.context("the audit does not pass")?;
    }
    for show in &shows {
        let _: Value = admin.post_empty(&format!("/shows/{show}/close")).await?;
    }
    Ok(Round { sent, decided_in, cpu })
}

/// Opens as many shows as it takes and gives each booking a visitor, a show and a tier. The tiers
/// of all shows are asked for in turn, each as often as it has seats to sell.
async fn wanted(
    bench: &Bookings,
    pool: &Pool,
    master: &MasterKey,
    admin: &Client,
) -> anyhow::Result<Vec<Wanted>> {
    let movie: Movie = admin.post("/movies", &stage::movie()).await?;
    let theatre: Theatre = admin.post("/theatres", &stage::theatre()).await?;
    let (tiers, layout) = hall::hall(SEATS);
    let theatre_id = theatre.theatre_id;
    let hall = ScreenDetails { theatre_id, name: "Hall".into(), tiers, layout };
    let n = bench.each_round as usize;
    let mut left: Vec<(ShowId, TierCode, u64)> = Vec::new();
    while left.iter().map(|(.., seats)| seats).sum::<u64>() < n as u64 {
        let name = format!("Hall {}", left.len());
        let screen = ScreenDetails { name, ..hall.clone() };
        let screen: Screen = admin.post("/screens", &screen).await?;
        let starts_at = platform::clock::now() + Days::new(1);
        let details = ShowDetails {
            waiting_room: RoomSettings { mode: RoomMode::Off, ..RoomSettings::default() },
            ..shows::ordinary(movie.movie_id, theatre_id, &screen, starts_at)
        };
        let show: Show = admin.post("/shows", &details).await?;
        shows::open(admin, show.show_id).await?;
        let tiers = screen.details.tiers.into_iter();
        left.extend(tiers.map(|tier| {
            let seats = u64::try_from(tier.capacity).unwrap_or_default();
            (show.show_id, tier.tier, seats * SOLD_OF_TEN / 10)
        }));
    }
    let mut tokens = seed::tokens(pool, master, n).await?.into_iter();
    let mut wanted = Vec::with_capacity(n);
    loop {
        for (show, tier, seats) in left.iter_mut().filter(|(.., seats)| *seats > 0) {
            let Some(token) = tokens.next() else { return Ok(wanted) };
            wanted.push(Wanted { token, show: *show, tier: tier.clone() });
            *seats -= 1;
        }
    }
}

/// Free seats of all these shows.
async fn free_seats(admin: &Client, shows: &BTreeSet<ShowId>) -> anyhow::Result<u64> {
    let mut free = 0;
    for show in shows {
        let seats = admin.show(*show).await?.available.into_iter().map(|tier| tier.seats);
        free += seats.map(|seats| u64::try_from(seats).unwrap_or_default()).sum::<u64>();
    }
    Ok(free)
}

/// Processor time of the backends and of our processes so far.
fn cpu(bench: &Bookings, services: &[Running]) -> anyhow::Result<BTreeMap<String, Duration>> {
    let site = &bench.site;
    let backends = [
        ("postgres", site.database_url.as_str()),
        ("redis", &site.redis_url),
        ("rabbitmq", &site.amqp_url),
    ];
    let mut all = BTreeMap::new();
    for (name, url) in backends {
        let port =
            Url::parse(url)?.port().with_context(|| format!("the URL of {name} has no port"))?;
        let cpu = usage::listener(port).and_then(usage::cpu_with_children);
        all.extend(cpu.map(|cpu| (name.to_owned(), cpu)));
    }
    for running in services {
        let usage = Usage::of([running.pid]);
        all.extend(usage.map(|usage| (running.name.clone(), usage.cpu)));
    }
    Ok(all)
}

/// Runs the version's `usher` with these arguments.
async fn run_to_end(fleet: &Fleet, arguments: &[&str]) -> anyhow::Result<()> {
    let name = format!("usher-{}", arguments[0]);
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let mut running = fleet.start("usher", &name, &[], &arguments)?;
    let status = running.child.wait().await?;
    ensure!(status.success(), "usher {} ended with {status}: see {name}.log", arguments[0]);
    Ok(())
}
