//! What a round sells with: services, an administrator, a movie and where it is shown.

use std::{collections::BTreeSet, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use chrono::Days;
use contract::{
    ShowId, TierCode,
    access::Role,
    api::catalogue::{
        Layout, Movie, RoomMode, RoomSettings, Screen, ScreenDetails, ScreenTier, Show,
        ShowDetails, Theatre,
    },
    keys::MasterKey,
};
use loadtest::Client;
use store::Pool;
use tokio::time::{Instant, sleep};
use usher::seed::{self, hall, shows};

use super::{
    backlog::Backlog,
    sender::{self, Wanted},
    settings::Bookings,
};
use crate::{
    fleet::{Fleet, Running, origin},
    ports, stage,
};

/// Seats of each show.
const SEATS: usize = 10_000;
/// Of ten seats of a tier so many are sold: the last ones may be kept for who needs them.
const SOLD_OF_TEN: u64 = 9;
/// Places of the show that is sold out.
const PLACES: i32 = 10;
/// Time after which a node knows that a show is sold out.
const KNOWN_AFTER: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ALLOCATOR: &str = "allocator";

/// An installation with a database of its own.
pub(super) struct House {
    pub(super) database_url: String,
    pub(super) admin: Client,
    pub(super) services: Vec<Running>,
    fleet: Fleet,
    ports: Vec<u16>,
    pool: Pool,
    master: MasterKey,
    movie: Movie,
    theatre: Theatre,
}

impl House {
    /// Starts the programs in this folder, or those beside this one.
    pub(super) async fn open(bench: &Bookings, programs: Option<&Path>) -> anyhow::Result<Self> {
        let site = &bench.site;
        let master = MasterKey::parse(&site.master_key)?;
        let database_url = site.empty_database("_bookings").await?;
        let mut fleet = site.fleet(&database_url, &[Ipv4Addr::LOCALHOST])?;
        if let Some(programs) = programs {
            fleet.use_programs(programs);
        }
        run_to_end(&fleet, &["migrate"]).await?;
        let pool = store::connect(&database_url, "bench", 2)?;
        let ports = ports::free(4)?;
        let mut services = Vec::new();
        for (program, port) in ["ingress", ALLOCATOR, "notifier"].into_iter().zip(&ports) {
            services.push(fleet.serve(program, program, *port, &[]).await?);
        }
        let admin = testing::account(&pool, Role::Admin).await;
        let admin = testing::token(&master, admin, Role::Admin);
        let admin = Client::new(&origin(ports[0]))?.signed_in(&admin);
        let movie: Movie = admin.post("/movies", &stage::movie()).await?;
        let theatre: Theatre = admin.post("/theatres", &stage::theatre()).await?;
        Ok(Self { database_url, admin, services, fleet, ports, pool, master, movie, theatre })
    }

    /// The port of ingress.
    pub(super) fn ingress(&self) -> u16 {
        self.ports[0]
    }

    /// Where the notifier is.
    pub(super) fn notifier(&self) -> String {
        origin(self.ports[2])
    }

    /// A port that nobody uses.
    pub(super) fn free_port(&self) -> u16 {
        self.ports[3]
    }

    pub(super) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Opens as many shows as it takes and gives each booking a visitor, a show and a tier. The
    /// tiers of all shows are asked for in turn, each as often as it has seats to sell.
    pub(super) async fn wanted(&self, n: usize) -> anyhow::Result<Vec<Wanted>> {
        let mut left: Vec<(ShowId, TierCode, u64)> = Vec::new();
        while left.iter().map(|(.., seats)| seats).sum::<u64>() < n as u64 {
            let (show, tiers) =
                self.open_show(format!("Hall {}", left.len()), hall::hall(SEATS)).await?;
            left.extend(tiers.into_iter().map(|tier| {
                let seats = u64::try_from(tier.capacity).unwrap_or_default();
                (show, tier.tier, seats * SOLD_OF_TEN / 10)
            }));
        }
        let mut tokens = seed::tokens(&self.pool, &self.master, n).await?.into_iter();
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
    pub(super) async fn free_seats(&self, shows: &BTreeSet<ShowId>) -> anyhow::Result<u64> {
        let mut free = 0;
        for show in shows {
            let seats = self.admin.show(*show).await?.available.into_iter().map(|tier| tier.seats);
            free += seats.map(|seats| u64::try_from(seats).unwrap_or_default()).sum::<u64>();
        }
        Ok(free)
    }

    /// An error if a service has ended, with the path of its log.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.services.iter_mut().try_for_each(Running::check)
    }

    pub(super) async fn audit(&self) -> anyhow::Result<()> {
        run_to_end(&self.fleet, &["audit"]).await.context("the audit does not pass")
    }

    /// Sells all places of a small show, and waits until ingress knows. Returns visitors who want a
    /// place of it.
    pub(super) async fn sold_out(&self, visitors: &[Wanted]) -> anyhow::Result<Vec<Wanted>> {
        let (show, mut refused) = self.lawn("Lawn", PLACES, visitors).await?;
        let buyers = refused.drain(..usize::try_from(PLACES)?).collect();
        sender::send(self.ingress(), buyers, 1).await?;
        let until = Instant::now() + Duration::from_secs(30);
        while self.free_seats(&BTreeSet::from([show])).await? > 0 {
            ensure!(Instant::now() < until, "{PLACES} places are not sold in half a minute");
            sleep(LOOK_EVERY).await;
        }
        sleep(KNOWN_AFTER).await;
        Ok(refused)
    }

    /// Fills the queue of a show with twice as many bookings as it has places, while no allocator
    /// runs. Then starts one.
    pub(super) async fn full_queue(
        &mut self,
        visitors: &[Wanted],
        at_once: u16,
    ) -> anyhow::Result<Backlog> {
        let places = i32::try_from(visitors.len() / 2)?;
        let (show, wanted) = self.lawn("Meadow", places, visitors).await?;
        let at = self.services.iter().position(|service| service.name == ALLOCATOR);
        self.services.remove(at.context("there is an allocator")?).child.kill().await?;
        let n = wanted.len();
        sender::send(self.ingress(), wanted, at_once).await?;
        self.services.push(self.fleet.serve(ALLOCATOR, ALLOCATOR, self.ports[1], &[]).await?);
        Backlog::watch(&self.database_url, show, n).await
    }

    /// A show on sale in a hall of this many seats, and these visitors as its own, all in its
    /// largest tier.
    pub(super) async fn stalls(
        &self,
        seats: usize,
        visitors: &[Wanted],
    ) -> anyhow::Result<Vec<Wanted>> {
        let (show, tiers) = self.open_show(format!("Hall of {seats}"), hall::hall(seats)).await?;
        let largest = tiers.iter().max_by_key(|tier| tier.capacity);
        let tier = &largest.context("a hall has tiers")?.tier;
        let want = |of: &Wanted| Wanted { token: of.token.clone(), show, tier: tier.clone() };
        Ok(visitors.iter().map(want).collect())
    }

    /// A show on sale with this many places without numbers, and these visitors as its own.
    pub(super) async fn lawn(
        &self,
        name: &str,
        places: i32,
        visitors: &[Wanted],
    ) -> anyhow::Result<(ShowId, Vec<Wanted>)> {
        let (show, tiers) = self.open_show(name.into(), hall::lawn(places)).await?;
        let tier = tiers.first().context("a lawn is a tier")?.tier.clone();
        let want = |of: &Wanted| Wanted { token: of.token.clone(), show, tier: tier.clone() };
        Ok((show, visitors.iter().map(want).collect()))
    }

    /// A show on sale in a hall of its own, without a waiting room.
    async fn open_show(
        &self,
        name: String,
        (tiers, layout): (Vec<ScreenTier>, Layout),
    ) -> anyhow::Result<(ShowId, Vec<ScreenTier>)> {
        let (admin, theatre_id) = (&self.admin, self.theatre.theatre_id);
        let screen = ScreenDetails { theatre_id, name, tiers, layout };
        let screen: Screen = admin.post("/screens", &screen).await?;
        let starts_at = platform::clock::now() + Days::new(1);
        let details = ShowDetails {
            waiting_room: RoomSettings { mode: RoomMode::Off, ..RoomSettings::default() },
            ..shows::ordinary(self.movie.movie_id, theatre_id, &screen, starts_at)
        };
        let show: Show = admin.post("/shows", &details).await?;
        shows::open(admin, show.show_id).await?;
        Ok((show.show_id, screen.details.tiers))
    }
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
