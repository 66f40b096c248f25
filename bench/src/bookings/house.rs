//! What a round sells with: services, an administrator, a movie and where it is shown.

use std::{collections::BTreeSet, iter::repeat_with, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use chrono::Days;
use contract::{
    ShowId,
    access::Role,
    api::catalogue::{
        Layout, Movie, RoomMode, RoomSettings, Screen, ScreenDetails, ScreenTier, Show,
        ShowDetails, Theatre,
    },
    keys::MasterKey,
    topology::Partition,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lapin::{Connection, ConnectionProperties};
use loadtest::Client;
use platform::broker;
use store::{Pool, partitions};
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
const SOLD_OF_TEN: usize = 9;
/// Most tiers of a show.
const TIERS_MAX: usize = 20;
/// Shows that are opened at once.
const OPENED_AT_ONCE: usize = 16;
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
        let mut left: Vec<(Partition, usize)> = Vec::new();
        while left.iter().map(|(_, seats)| seats).sum::<usize>() < n {
            left.extend(self.halls(1, SEATS).await?);
        }
        let mut tokens = seed::tokens(&self.pool, &self.master, n).await?.into_iter();
        let mut wanted = Vec::with_capacity(n);
        loop {
            for (Partition { show, tier }, seats) in left.iter_mut().filter(|(_, n)| *n > 0) {
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

    /// Opens this many shows in halls of so many seats. Returns their partitions, those of a show
    /// together, each with the seats to sell.
    pub(super) async fn halls(
        &self,
        n: usize,
        seats: usize,
    ) -> anyhow::Result<Vec<(Partition, usize)>> {
        let halls = repeat_with(|| hall::hall(seats)).take(n);
        let opened = self.open_shows(&format!("Hall of {seats}"), halls).await?;
        let sold = |(partition, seats): (Partition, usize)| (partition, seats * SOLD_OF_TEN / 10);
        Ok(opened.into_iter().map(sold).collect())
    }

    /// Opens as many shows as it takes for this many partitions with so many places each, without
    /// numbers. Returns the partitions, each with its places.
    pub(super) async fn lawns(
        &self,
        n: usize,
        places: usize,
    ) -> anyhow::Result<Vec<(Partition, usize)>> {
        let places = i32::try_from(places)?;
        let firsts = (0..n).step_by(TIERS_MAX);
        let lawns = firsts.map(|first| lawn_in_parts(TIERS_MAX.min(n - first), places));
        self.open_shows("Lawn in parts", lawns).await
    }

    /// Ends the services, and deletes their queues, so that the broker has none of them in the next
    /// round.
    pub(super) async fn end(mut self, amqp_url: &str) -> anyhow::Result<()> {
        for service in &mut self.services {
            service.child.kill().await?;
        }
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for queued in partitions::queued(&self.pool).await? {
            broker::delete_requests(&channel, &queued.partition).await?;
        }
        Ok(connection.close(200, "measured".into()).await?)
    }

    /// A show on sale in each of these halls. Returns the partitions, each with its seats.
    async fn open_shows(
        &self,
        name: &str,
        halls: impl IntoIterator<Item = (Vec<ScreenTier>, Layout)>,
    ) -> anyhow::Result<Vec<(Partition, usize)>> {
        let opened: Vec<(ShowId, Vec<ScreenTier>)> = stream::iter(halls)
            .map(|hall| self.open_show(name.to_owned(), hall))
            .buffered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        let mut on_sale = Vec::new();
        for (show, tiers) in opened {
            for ScreenTier { tier, capacity, .. } in tiers {
                on_sale.push((Partition { show, tier }, usize::try_from(capacity)?));
            }
        }
        Ok(on_sale)
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

/// A lawn of this many tiers, each with so many places.
fn lawn_in_parts(n: usize, places: i32) -> (Vec<ScreenTier>, Layout) {
    let (lawn, layout) = hall::lawn(places);
    let part = |n: usize| ScreenTier {
        tier: format!("PART_{n}").parse().expect("capital letters and digits"),
        ..lawn[0].clone()
    };
    ((1..=n).map(part).collect(), layout)
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
