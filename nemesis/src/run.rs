//! One run: a sale under fire, then quiet, then the checks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use contract::{
    ShowId,
    keys::MasterKey,
    place_ticket::{Place, PlaceKeys},
};
use fastrand::Rng;
use futures_util::future::join;
use platform::{Shutdown, faults::Guarantee};
use serde_json::json;
use store::Pool;
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    api,
    arena::{Arena, Backend},
    buyer::{Buyer, Visit, Wishes},
    check::{self, Findings, Scene},
    ending::{Healed, QUIET_WAIT, Wait, converged, longest_wait, serving, settled},
    fault::{Fault, Nemesis, Schedule},
    fleet::{Fleet, Orders},
    history::History,
    office::Office,
    poison::Poison,
    probe::Probe,
    rare::RarePaths,
    sale::{self, Hall, Halls, Purpose},
    story::Story,
};

/// A master key that may be public, since the backends end with the run.
const MASTER_KEY: &str = "Y2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MhISE=";
/// Requests for each seat.
const REQUESTS_PER_SEAT: usize = 10;
/// Longest time after the last fault until every accepted booking is decided and published, without
/// the time that the backends take (goal R2).
pub const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
/// The finding of a run that took longer.
const TOO_SLOW: &str = "too slow to converge";
/// How long buyers still wait for answers after the run; the checks find what is missing.
const PATIENCE: Duration = Duration::from_secs(45);
/// Accounts for the show that the crowd does not book.
const ASIDE: usize = 20;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    /// How long buyers come and faults happen.
    pub length: Duration,
    pub seats: u32,
    pub halls: Halls,
    pub faults: Schedule,
}

impl Script {
    /// A run of this length with faults drawn from the seed.
    pub fn drawn(seed: u64, length: Duration, seats: u32, is_cluster: bool) -> Self {
        let faults = crate::schedule::schedule(seed, length, is_cluster);
        Self { seed, length, seats, halls: Halls::Several, faults }
    }

    /// Further shows that the faults need.
    fn more_halls(&self) -> Vec<Purpose> {
        let has = |wanted: fn(&Fault) -> bool| self.faults.iter().any(|(_, fault)| wanted(fault));
        let early = has(|fault| matches!(fault, Fault::Close { .. })).then_some(Purpose::EndsEarly);
        let aside = has(|fault| matches!(fault, Fault::Unqueue)).then_some(Purpose::Aside);
        early.into_iter().chain(aside).collect()
    }

    /// Whether PostgreSQL's clock jumps, so that its times give no order.
    fn steps_clock(&self) -> bool {
        let is_step =
            |fault: &Fault| matches!(fault, Fault::Step { backend: Backend::Postgres, .. });
        self.faults.iter().any(|(_, fault)| is_step(fault))
    }
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub seed: u64,
    pub faults: BTreeMap<String, u32>,
    pub asked: usize,
    pub accepted: usize,
    pub allocated: usize,
    pub unknown: usize,
    /// From the end of the last fault until everything accepted was decided and published.
    pub converged: Option<Duration>,
    /// The part of that time in which a backend was slow.
    pub backends: Duration,
    pub longest_wait: Option<Wait>,
    pub findings: Findings,
}

impl Verdict {
    pub fn is_green(&self) -> bool {
        self.findings.is_clean()
    }

    /// Whether every promise was kept but that of [`CONVERGED_WITHIN`]: a busy machine is slow. That
    /// everything is decided within [`QUIET_WAIT`] is still asked.
    pub fn is_right(&self) -> bool {
        self.findings.kinds().all(|kind| kind == TOO_SLOW)
    }
}

/// The system under test: backends, services, accounts.
pub struct Installation {
    pub arena: Arena,
    pub fleet: Fleet,
    pub pool: Pool,
    pub rare: RarePaths,
    pub probe: Probe,
    folder: PathBuf,
    master: MasterKey,
    http: reqwest::Client,
    stop: Shutdown,
}

impl Installation {
    /// Starts everything in a folder of its own, with the named guarantees missing.
    pub async fn open(folder: &Path, cluster: bool, without: &[Guarantee]) -> anyhow::Result<Self> {
        let arena = Self::arena(folder, cluster).await?;
        usher::migrate::run(arena.postgres_url()?).await?;
        Self::stage(folder, arena, without, None).await
    }

    /// Starts an earlier build with its own schema; its programs are in the folder `before`.
    pub async fn open_before(folder: &Path, before: &Path) -> anyhow::Result<Self> {
        let arena = Self::arena(folder, false).await?;
        let mut migrate = Command::new(before.join("usher"));
        migrate.arg("migrate").env("DATABASE_URL", arena.postgres_url()?);
        let migrated =
            migrate.status().await.context("the usher of the earlier build cannot be run")?;
        ensure!(migrated.success(), "the usher of before did not migrate");
        Self::stage(folder, arena, &[], Some(before.to_owned())).await
    }

    async fn arena(folder: &Path, cluster: bool) -> anyhow::Result<Arena> {
        std::fs::create_dir_all(folder)?;
        Arena::up(folder.join("arena"), cluster).await
    }

    async fn stage(
        folder: &Path,
        arena: Arena,
        without: &[Guarantee],
        before: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let database = arena.postgres_url()?.to_owned();
        let rare = RarePaths::new(folder.join("rare-paths"))?;
        let missing: Vec<&str> = without.iter().map(|guarantee| guarantee.as_str()).collect();
        let orders = Orders {
            database: database.clone(),
            master_key: MASTER_KEY.into(),
            environment: vec![
                ("USHER_RARE_PATHS", rare.path().display().to_string()),
                ("USHER_WITHOUT", missing.join(",")),
                // Wide limits, since several accounts share an address and retry often.
                ("USHER_LIMIT_READS_PER_SECOND", "1000".into()),
                ("USHER_LIMIT_BOOKINGS_PER_SECOND", "100".into()),
                ("USHER_REBUILD_SECONDS", "3".into()),
                ("USHER_BATCH_BOOKINGS_MAX", "32".into()),
            ],
            logs: folder.join("logs"),
            before,
        };
        let stop = Shutdown::default();
        let fleet = Fleet::start(&arena, &orders, &stop).await?;
        let probe = Probe::start(&database, arena.redis_url()?, &arena.amqp_urls()?, &stop);
        Ok(Self {
            pool: store::connect(&database, "chaos", 8)?,
            master: MasterKey::parse(MASTER_KEY).context("the key is not 32 bytes in base64")?,
            http: api::http()?,
            folder: folder.to_owned(),
            arena,
            fleet,
            rare,
            probe,
            stop,
        })
    }

    /// Ends everything and deletes the backends' data; logs and histories stay.
    pub async fn close(self) -> anyhow::Result<()> {
        self.stop.finish(Duration::from_secs(10)).await;
        self.arena.down().await
    }

    /// Makes a show that no buyer visits.
    pub(crate) async fn another_show(&self) -> anyhow::Result<ShowId> {
        let token = sale::admin(&self.pool, &self.master).await;
        let admin = api::Api::new(&self.http, &self.fleet, &token, 1);
        let halls = sale::open(&admin, Halls::OnePartition, 1, &[]).await?;
        Ok(halls[0].show)
    }

    /// Runs one script, from new shows to the verdict.
    pub async fn run(&self, script: &Script) -> anyhow::Result<Verdict> {
        let history = History::create(&self.folder.join(format!("history-{}.jsonl", script.seed)))?;
        let (http, fleet, master) = (&self.http, &self.fleet, &self.master);
        let token = sale::admin(&self.pool, master).await;
        let admin = api::Api::new(http, fleet, &token, 1);
        let halls = sale::open(&admin, script.halls, script.seats, &script.more_halls()).await?;
        check::subscribe(&self.arena).await?;
        let crowded: Vec<Hall> =
            halls.iter().filter(|hall| hall.purpose != Purpose::Aside).cloned().collect();
        let seats: usize = crowded.iter().map(Hall::n_seats).sum();
        let n = seats * REQUESTS_PER_SEAT;
        let schedule: Vec<String> =
            script.faults.iter().map(|(at, fault)| format!("{at:?} {fault:?}")).collect();
        history.pen().note("nemesis", "schedule", &json!(schedule));
        let poisoner = sale::tokens(&self.pool, master, 1).await?.remove(0).0;
        let poison =
            Poison { master, halls: &halls, account: poisoner, put: std::sync::Mutex::default() };
        let until = Instant::now() + script.length;
        let office = Office {
            http,
            fleet,
            pool: &self.pool,
            halls: &halls,
            token,
            buyers: sale::tokens(&self.pool, master, ASIDE).await?,
            pen: history.pen(),
            until: until + PATIENCE,
            seed: script.seed,
            visits: tokio::sync::Mutex::default(),
            emptied: std::sync::Mutex::default(),
            declaring: tokio::sync::Mutex::default(),
        };
        let nemesis = Nemesis { arena: &self.arena, fleet, poison, office };
        let buying = self.crowd(script, &crowded, n, &history);
        let harming = async {
            let counts = nemesis.act(&script.faults).await;
            sleep_until(until).await;
            self.fleet.heal();
            serving(&self.arena, &self.pool, &halls).await;
            (counts, Healed::now(&self.pool, &halls).await)
        };
        let (visits, (faults, healed)) = join(buying, harming).await;
        let mut visits = visits?;
        visits.append(&mut *nemesis.office.visits.lock().await);
        drop(nemesis.office.pen);
        let stories: Vec<Story> = visits.iter().flat_map(|visit| visit.stories.clone()).collect();
        let scene = Scene {
            arena: &self.arena,
            fleet: &self.fleet,
            pool: &self.pool,
            halls: &halls,
            stories: &stories,
            poison: &nemesis.poison.ids(),
            places: &places(master, &visits),
            probe: &self.probe,
            steps_clock: script.steps_clock(),
        };
        let converged = converged(&scene, &healed).await;
        let until = healed.on + *converged.as_ref().unwrap_or(&QUIET_WAIT);
        let backends = self.probe.own(healed.on, until);
        settled(&scene).await;
        let mut findings = check::check(&scene).await;
        let went_up: u64 = visits.iter().map(|visit| visit.went_up).sum();
        findings.add_many(
            "positions that rose",
            i64::try_from(went_up)?,
            "while the place was kept",
        );
        match &converged {
            Ok(took) if *took <= CONVERGED_WITHIN + backends => {}
            Ok(took) => {
                let text = format!("{took:?}, of it the backends by themselves {backends:?}");
                findings.add(TOO_SLOW, text);
            }
            Err(why) => findings.add("did not converge", why.clone()),
        }
        history.close()?;
        let longest_wait = longest_wait(&self.pool, &stories).await?;
        Ok(Verdict {
            seed: script.seed,
            faults,
            asked: stories.len(),
            accepted: stories.iter().filter(|story| story.accepted).count(),
            allocated: stories.iter().filter(|story| story.has_won()).count(),
            unknown: stories.iter().filter(|story| story.unknown).count(),
            converged: converged.ok(),
            backends,
            longest_wait,
            findings,
        })
    }

    /// Sends buyers evenly over the run, and waits for the last of them.
    async fn crowd(
        &self,
        script: &Script,
        halls: &[Hall],
        n: usize,
        history: &History,
    ) -> anyhow::Result<Vec<Visit>> {
        let mut rng = Rng::with_seed(script.seed);
        // Each account buys about three times, so that the limits per account matter.
        let accounts = sale::tokens(&self.pool, &self.master, n.div_ceil(3).max(1)).await?;
        let began = Instant::now();
        let give_up = began + script.length + PATIENCE;
        let mut visits = JoinSet::new();
        for at in 0..n {
            let share = f64::from(u32::try_from(at)?) / f64::from(u32::try_from(n)?);
            sleep_until(began + script.length.mul_f64(share)).await;
            let (account, token) = &accounts[at % accounts.len()];
            let buyer = Buyer {
                name: format!("buyer {at}"),
                account: *account,
                api: api::Api::new(&self.http, &self.fleet, token, at),
                wishes: Wishes::draw(halls, &mut rng),
                pen: history.pen(),
                until: give_up,
            };
            visits.spawn(buyer.shop());
        }
        let mut done = Vec::with_capacity(n);
        while let Some(visit) = visits.join_next().await {
            done.push(visit.context("a buyer panicked")?);
        }
        Ok(done)
    }
}

/// Every place in the tickets of these visits.
fn places(master: &MasterKey, visits: &[Visit]) -> Vec<Place> {
    let keys = PlaceKeys::new(master);
    visits.iter().flat_map(|visit| &visit.places).filter_map(|told| keys.verify(told)).collect()
}
