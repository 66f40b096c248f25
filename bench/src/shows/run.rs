//! The processes that run while many shows are open.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, bail};
use chrono::Days;
use contract::{
    BookingId, ShowId,
    api::catalogue::{
        Layout, Movie, RoomMode, RoomSettings, RoomSettingsChange, Screen, ScreenDetails,
        ScreenTier, Show, ShowDetails, Theatre,
    },
    keys::MasterKey,
    topology::Partition,
};
use loadtest::Client;
use platform::{
    Shutdown,
    broker::{self, Broker, Link},
    number::float,
};
use reqwest::Method;
use store::{Pool, many, partitions};
use tokio::time::{Instant, sleep};
use usher::seed::{self, hall, shows};

use super::{
    figures::Cores,
    paced::{self, Busy, OutcomeTimes, Tokens},
    settings::Shows,
};
use crate::{
    console::Console,
    fleet::{Fleet, Running, origin},
    ports, stage,
    usage::Usage,
};

/// Seats of the busy show, and of each quiet show.
const BUSY_SEATS: usize = 6_000;
const QUIET_SEATS: usize = 60;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time per show for queues to be made or deleted, beside one minute for all.
const WAIT_PER_SHOW: Duration = Duration::from_millis(600);
/// Longest wait for a queue that was deleted by hand to be served again.
const BACK_MAX: Duration = Duration::from_mins(1);

pub(super) struct Run {
    pub(super) console: Console,
    pub(super) pool: Pool,
    pub(super) busy: Busy,
    pub(super) tokens: Tokens,
    pub(super) amqp_url: String,
    admin: Client,
    template: ShowId,
    others: Vec<ShowId>,
    fleet: Fleet,
    allocator: Running,
    allocator_port: u16,
    allocators: usize,
    /// Every service except the allocator.
    services: Vec<Running>,
}

impl Run {
    /// Makes the database, starts the processes, and opens the busy show.
    pub(super) async fn set_up(shows: &Shows) -> anyhow::Result<Self> {
        let mut console = Console::new();
        let master = MasterKey::parse(&shows.site.master_key)?;
        console.say("schema: bringing a database of its own up to date");
        let database_url = shows.site.database("_shows").await?;
        let pool = store::connect(&database_url, "load", 2)?;
        many::close_all(&pool).await?;
        let fleet = shows.site.fleet(&database_url, &[Ipv4Addr::LOCALHOST])?;
        let ports = ports::free(5)?;
        console.say("services: ingress, notifier, two waiting rooms, one allocator");
        let mut services = Vec::new();
        let of = ["ingress", "notifier", "waiting-room", "waiting-room"];
        for (n, (program, port)) in of.into_iter().zip(&ports).enumerate() {
            let name = if n == 3 { "waiting-room-2" } else { program };
            services.push(fleet.serve(program, name, *port, &[]).await?);
        }
        let allocator = fleet.serve("allocator", "allocator-1", ports[4], &[]).await?;
        let visitors = usize::from(shows.rate) * (usize::from(shows.seconds) * 3 + 10) + 100;
        console.say(&format!("visitors: {visitors} accounts with tokens"));
        let tokens = Tokens::new(seed::tokens(&pool, &master, visitors).await?);
        let client = Client::new(&origin(ports[0]))?;
        let admin = seed::Admin::ensure(&pool, &master, &client).await?.client;
        let (show, template) = stage(&admin).await?;
        let tiers = admin.show(show).await?.available.into_iter().map(|tier| tier.tier).collect();
        let busy = Busy { client, show, tiers };
        let mut run = Self {
            console,
            pool,
            busy,
            tokens,
            amqp_url: shows.site.amqp_url.clone(),
            admin,
            template,
            others: Vec::new(),
            fleet,
            allocator,
            allocator_port: ports[4],
            allocators: 1,
            services,
        };
        // Waits until the queues of an earlier run are gone.
        run.until_queues("left by an earlier run", 3, usize::MAX, |n, _| n <= 3).await?;
        Ok(run)
    }

    pub(super) async fn book(&mut self, rate: u16, time: Duration) -> anyhow::Result<OutcomeTimes> {
        self.check()?;
        paced::book(&self.busy, &mut self.tokens, rate, time).await
    }

    pub(super) async fn send(&mut self, n: usize) -> anyhow::Result<Vec<(Client, BookingId)>> {
        paced::send(&self.busy, &mut self.tokens, n).await
    }

    /// Opens `n` other shows, and waits until all are on sale and served.
    pub(super) async fn open_others(&mut self, n: usize) -> anyhow::Result<()> {
        self.console.say(&format!("opening: {n} shows of three tiers"));
        self.others = many::copy_on_sale(&self.pool, self.template, n).await?;
        let wanted = (n + 1) * self.busy.tiers.len();
        self.until_queues("made", wanted, n, |_, ready| ready == wanted).await?;
        let name = self.allocator_name();
        let until = Instant::now() + Duration::from_mins(1);
        while many::served_by(&self.pool, &name).await?.len() < wanted {
            if Instant::now() > until {
                bail!("not every queue is served a minute after the last was made");
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until the number of queues, and of those that are ready, is as wanted.
    async fn until_queues(
        &mut self,
        what: &str,
        wanted: usize,
        shows: usize,
        is_so: impl Fn(usize, usize) -> bool,
    ) -> anyhow::Result<()> {
        let shows = u32::try_from(shows).unwrap_or(2_000);
        let until = Instant::now() + WAIT_PER_SHOW * shows + Duration::from_mins(1);
        loop {
            let queued = partitions::queued(&self.pool).await?;
            let ready = queued.iter().filter(|queued| queued.ready).count();
            if is_so(queued.len(), ready) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("there are {ready} queues instead of {wanted} ({what}): see allocator-*.log");
            }
            self.console.show(&format!("queues: {ready} are there ({what}: {wanted})"));
            self.check()?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many queues there are.
    pub(super) async fn partitions(&self) -> anyhow::Result<usize> {
        Ok(partitions::queued(&self.pool).await?.len())
    }

    /// Memory and processor time of each process so far.
    pub(super) fn usage(&self) -> Vec<(String, Option<Usage>)> {
        let all = self.services.iter().chain([&self.allocator]);
        all.map(|running| (running.name.clone(), Usage::of([running.pid]))).collect()
    }

    pub(super) fn cores_since(
        &self,
        before: &[(String, Option<Usage>)],
        time: Duration,
    ) -> Vec<Cores> {
        let both = self.usage().into_iter().zip(before);
        both.map(|((process, now), (_, before))| {
            let used = now.zip(*before).map(|(now, before)| now - before);
            let share = used.map(|used| used.cpu.as_secs_f64() / time.as_secs_f64());
            let rss_mib = now.map(|now| float(now.rss_bytes) / f64::from(1 << 20));
            Cores { process, share, rss_mib }
        })
        .collect()
    }

    /// Deletes the queue of a quiet show without telling the allocator.
    pub(super) async fn delete_a_queue(&self) -> anyhow::Result<Partition> {
        let show = *self.others.first().context("there is no other show")?;
        let partition = Partition { show, tier: self.busy.tiers[0].clone() };
        let shutdown = Shutdown::default();
        let link = connect(&self.amqp_url, &shutdown).await?;
        broker::delete_requests(&link.channel().await?, &partition).await?;
        shutdown.begin();
        Ok(partition)
    }

    /// Pauses the line of another quiet show.
    pub(super) async fn stop_a_line(&self) -> anyhow::Result<()> {
        let show = *self.others.last().context("there is no other show")?;
        let change = RoomSettingsChange { paused: Some(true), ..RoomSettingsChange::default() };
        let path = format!("/shows/{show}/waiting-room");
        let changed: Result<serde_json::Value, _> =
            self.admin.change(Method::PATCH, &path, &change).await;
        changed.map(drop).context("the line of a show cannot be stopped")
    }

    pub(super) async fn kill_allocator(&mut self) -> anyhow::Result<()> {
        self.allocator.child.start_kill()?;
        self.allocator.child.wait().await?;
        Ok(())
    }

    /// Starts the next allocator; returns its name.
    pub(super) async fn start_allocator(&mut self) -> anyhow::Result<String> {
        self.allocators += 1;
        let name = format!("allocator-{}", self.allocators);
        let (program, port) = ("allocator", self.allocator_port);
        self.allocator = self.fleet.serve(program, &name, port, &[]).await?;
        Ok(self.allocator_name())
    }

    fn allocator_name(&self) -> String {
        format!("pid {}", self.allocator.pid)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.services.iter_mut().chain([&mut self.allocator]).try_for_each(Running::check)
    }

    /// Ends every sale and waits until no queue is left.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.console.say("ending: every sale closes, and its queues go");
        let shows = many::close_all(&self.pool).await?;
        let shows = usize::try_from(shows).unwrap_or(usize::MAX);
        // A queue is deleted only once it is proved empty. If that takes too long, the next run
        // waits for the rest.
        if let Err(error) = self.until_queues("to be left", 0, shows, |n, _| n == 0).await {
            self.console.say(&format!("ending: {error:#}"));
        }
        Ok(())
    }
}

/// The time until the partition's queue is consumed again.
pub(super) async fn served_again(
    amqp_url: &str,
    partition: &Partition,
    since: Instant,
) -> anyhow::Result<Duration> {
    let shutdown = Shutdown::default();
    let link = connect(amqp_url, &shutdown).await?;
    while since.elapsed() < BACK_MAX {
        let looked = broker::look_at(&link.channel().await?, partition).await?;
        if looked.is_some_and(|(_, consumers)| consumers > 0) {
            shutdown.begin();
            return Ok(since.elapsed());
        }
        sleep(LOOK_EVERY).await;
    }
    bail!("a queue that was deleted is not served again after {BACK_MAX:?}")
}

async fn connect(amqp_url: &str, shutdown: &Shutdown) -> anyhow::Result<std::sync::Arc<Link>> {
    let mut broker = Broker::connect(amqp_url, "load", shutdown)?;
    broker.link_soon().await.context("the broker cannot be reached")
}

/// Makes the busy show, which is open and without a line, and the template of the others, which has
/// a line and is never opened.
async fn stage(admin: &Client) -> anyhow::Result<(ShowId, ShowId)> {
    let movie: Movie = admin.post("/movies", &stage::movie()).await.context("POST /movies")?;
    let theatre: Theatre =
        admin.post("/theatres", &stage::theatre()).await.context("POST /theatres")?;
    let starts_at = platform::clock::now() + Days::new(1);
    let screen = async |name: &str, (tiers, layout): (Vec<ScreenTier>, Layout)| {
        let name = name.to_owned();
        let details = ScreenDetails { theatre_id: theatre.theatre_id, name, tiers, layout };
        let screen: Screen = admin.post("/screens", &details).await.context("POST /screens")?;
        Ok::<_, anyhow::Error>(screen)
    };
    let show = async |screen: &Screen, mode: RoomMode| {
        let details = ShowDetails {
            waiting_room: RoomSettings { mode, ..RoomSettings::default() },
            ..shows::ordinary(movie.movie_id, theatre.theatre_id, screen, starts_at)
        };
        let show: Show = admin.post("/shows", &details).await.context("POST /shows")?;
        Ok::<_, anyhow::Error>(show.show_id)
    };
    let busy = show(&screen("Large", hall::hall(BUSY_SEATS)).await?, RoomMode::Off).await?;
    let template = show(&screen("Small", hall::hall(QUIET_SEATS)).await?, RoomMode::Fifo).await?;
    shows::open(admin, busy).await?;
    Ok((busy, template))
}
