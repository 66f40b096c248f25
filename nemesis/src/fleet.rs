//! The services of a run: two processes of each, with proxies before their backends. A process that
//! ends is started again.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use platform::Shutdown;
use testing::{
    address::{address_in, at_address},
    proxy::Proxy,
};
use tokio::time::Instant;

use crate::{arena::Arena, process};

/// Pause before a service that ended is started again, as by a supervisor.
const RESTART_WAIT: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The service that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Ingress,
    WaitingRoom,
    Allocator,
    Notifier,
}

impl Service {
    pub const ALL: [Self; 4] = [Self::Ingress, Self::WaitingRoom, Self::Allocator, Self::Notifier];

    fn binary(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::WaitingRoom => "waiting-room",
            Self::Allocator => "allocator",
            Self::Notifier => "notifier",
        }
    }

    fn listen_variable(self) -> &'static str {
        match self {
            Self::Ingress => "USHER_INGRESS_LISTEN",
            Self::WaitingRoom => "USHER_WAITING_ROOM_LISTEN",
            Self::Allocator => "USHER_ALLOCATOR_LISTEN",
            Self::Notifier => "USHER_NOTIFIER_LISTEN",
        }
    }
}

/// Processes of each service.
pub const PER_SERVICE: usize = 2;

/// Which build of a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The build of this program.
    This,
    /// An earlier build, in the folder `before` of the orders.
    Before,
}

/// One of the processes: its service, and its number within the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub service: Service,
    pub n: usize,
}

impl Node {
    /// Every process of the fleet.
    pub fn all() -> impl Iterator<Item = Self> {
        Service::ALL
            .into_iter()
            .flat_map(|service| (0..PER_SERVICE).map(move |n| Self { service, n }))
    }

    fn index(self) -> usize {
        let service =
            Service::ALL.iter().position(|service| *service == self.service).unwrap_or_default();
        service * PER_SERVICE + self.n
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.service.binary(), self.n + 1)
    }
}

/// The proxies between one process and its backends.
pub struct Links {
    pub postgres: Proxy,
    pub redis: Proxy,
    pub amqp: Proxy,
}

/// The settings of every process.
pub struct Orders {
    pub database: String,
    pub master_key: String,
    /// Further environment variables, such as a missing guarantee.
    pub environment: Vec<(&'static str, String)>,
    pub logs: PathBuf,
    /// Folder of an earlier build to begin with.
    pub before: Option<PathBuf>,
}

struct Post {
    node: Node,
    address: SocketAddr,
    links: Links,
    environment: Vec<(&'static str, String)>,
    build: Build,
    before: Option<PathBuf>,
    /// The failpoint of the next start.
    failpoint: Option<String>,
    child: Option<Child>,
    frozen: bool,
    /// Whether it was asked to end.
    is_told: bool,
    /// Not started again before this time.
    down_until: Option<Instant>,
    log: PathBuf,
}

/// All processes. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    posts: Arc<Mutex<Vec<Post>>>,
    /// Processes that ended without being asked to or hit by a fault.
    ended_alone: Arc<AtomicU64>,
}

impl Fleet {
    /// Starts every process, and keeps it running until the shutdown begins.
    pub async fn start(arena: &Arena, orders: &Orders, stop: &Shutdown) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&orders.logs)?;
        let mut posts = Vec::new();
        let base = free_ports()?;
        for node in Node::all() {
            let port = base + u16::try_from(node.index())?;
            posts.push(post(arena, orders, node, port, stop).await?);
        }
        let fleet = Self { posts: Arc::new(Mutex::new(posts)), ended_alone: Arc::default() };
        let keeping = fleet.clone();
        let stopping = stop.clone();
        stop.spawn(async move {
            loop {
                keeping.keep();
                if !stopping.sleep(LOOK_EVERY).await {
                    break;
                }
            }
            keeping.end_all();
        });
        Ok(fleet)
    }

    /// The address of a process.
    pub fn address(&self, node: Node) -> SocketAddr {
        self.posts()[node.index()].address
    }

    /// Does something to the links of a process.
    pub fn with_links<T>(&self, node: Node, act: impl FnOnce(&Links) -> T) -> T {
        act(&self.posts()[node.index()].links)
    }

    /// Sends SIGKILL; the process is started again after `down`.
    pub fn kill(&self, node: Node, down: Duration) {
        let mut posts = self.posts();
        let post = &mut posts[node.index()];
        post.down_until = Some(Instant::now() + down);
        post.failpoint = None;
        post.end();
    }

    /// Sends SIGTERM, as in a rolling restart; the process is started again once it has ended.
    pub fn stop(&self, node: Node) {
        let mut posts = self.posts();
        let post = &mut posts[node.index()];
        if let Some(child) = &post.child {
            post.is_told = true;
            process::signal(child.id(), "TERM");
        }
    }

    /// Sends SIGTERM and then starts another build, as in an upgrade or a rollback.
    pub fn replace(&self, node: Node, build: Build) {
        self.posts()[node.index()].build = build;
        self.stop(node);
    }

    /// Sends SIGSTOP or SIGCONT.
    pub fn freeze(&self, node: Node, frozen: bool) {
        let mut posts = self.posts();
        let post = &mut posts[node.index()];
        post.frozen = frozen;
        if let Some(child) = &post.child {
            process::signal(child.id(), if frozen { "STOP" } else { "CONT" });
        }
    }

    /// Whether a process is stopped, by a fault or by its failpoint.
    pub fn is_stopped(&self, node: Node) -> bool {
        let pid = self.posts()[node.index()].child.as_ref().map(Child::id);
        pid.is_some_and(process::is_stopped)
    }

    /// Waits until a process is stopped; `false` if it is not within `at_most`.
    pub async fn stops_within(&self, node: Node, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        while Instant::now() < until {
            if self.is_stopped(node) {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }

    /// Ends a process and starts it again with a failpoint, such as `after-commit=abort`.
    pub fn arm(&self, node: Node, failpoint: &str) {
        let mut posts = self.posts();
        let post = &mut posts[node.index()];
        post.failpoint = Some(failpoint.to_owned());
        post.down_until = None;
        post.end();
    }

    /// Lets every process run and every link pass.
    pub fn heal(&self) {
        for node in Node::all() {
            self.freeze(node, false);
            self.with_links(node, |links| {
                for proxy in [&links.postgres, &links.redis, &links.amqp] {
                    proxy.heal();
                }
            });
        }
        for post in &mut *self.posts() {
            post.down_until = None;
        }
    }

    /// Processes that ended without being asked to or hit by a fault.
    pub fn ended_alone(&self) -> u64 {
        self.ended_alone.load(Ordering::Relaxed)
    }

    fn keep(&self) {
        for post in &mut *self.posts() {
            let ended = post.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() {
                post.child = None;
                post.down_until = Some(Instant::now() + RESTART_WAIT);
                self.ended_alone.fetch_add(u64::from(!post.is_told), Ordering::Relaxed);
            }
            let is_due = post.down_until.is_none_or(|until| Instant::now() >= until);
            if post.child.is_none()
                && is_due
                && let Err(error) = post.launch()
            {
                eprintln!("{} cannot be started: {error:#}", post.node);
            }
        }
    }

    fn end_all(&self) {
        for post in &mut *self.posts() {
            post.end();
        }
    }

    fn posts(&self) -> MutexGuard<'_, Vec<Post>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post {
    fn launch(&mut self) -> anyhow::Result<()> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        let name = self.node.service.binary();
        let program = match (self.build, &self.before) {
            (Build::Before, Some(folder)) => folder.join(name),
            _ => binary(name)?,
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(failpoint) = self.failpoint.take() {
            command.env("USHER_FAILPOINT", failpoint);
        }
        self.child = Some(command.spawn()?);
        self.down_until = None;
        self.frozen = false;
        self.is_told = false;
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.end();
    }
}

async fn post(
    arena: &Arena,
    orders: &Orders,
    node: Node,
    port: u16,
    stop: &Shutdown,
) -> anyhow::Result<Post> {
    let urls = arena.amqp_urls()?;
    // The processes of a service go to different nodes of a cluster.
    let amqp = urls[node.index() % urls.len()];
    let links = Links {
        postgres: Proxy::start(address_in(&orders.database)?, stop).await?,
        redis: Proxy::start(address_in(arena.redis_url()?)?, stop).await?,
        amqp: Proxy::start(address_in(amqp)?, stop).await?,
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut environment = vec![
        ("DATABASE_URL", at_address(&orders.database, links.postgres.address)?),
        ("REDIS_URL", at_address(arena.redis_url()?, links.redis.address)?),
        ("AMQP_URL", at_address(amqp, links.amqp.address)?),
        ("USHER_MASTER_KEY", orders.master_key.clone()),
        ("USHER_TRUSTED_PROXIES", "127.0.0.1".into()),
        ("USHER_LOG", "info".into()),
        (node.service.listen_variable(), address.to_string()),
    ];
    environment.extend(orders.environment.iter().cloned());
    Ok(Post {
        node,
        address,
        links,
        environment,
        build: if orders.before.is_some() { Build::Before } else { Build::This },
        before: orders.before.clone(),
        failpoint: None,
        child: None,
        frozen: false,
        is_told: false,
        down_until: None,
        log: orders.logs.join(format!("{}-{}.log", node.service.binary(), node.n + 1)),
    })
}

/// The binary of a service, which cargo builds beside this program.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("the path of this program is not known")?;
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = beside.into_iter().find(|path| Path::exists(path));
    found.with_context(|| format!("{name} is not built: run this by ./dev chaos or ./dev test"))
}

/// The first of free ports in a row, one per process; the ports a thousand above, for metrics, are
/// free, too. They are below the ports that outgoing connections get.
fn free_ports() -> anyhow::Result<u16> {
    let n = u16::try_from(Service::ALL.len() * PER_SERVICE)?;
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut base = 20_000 + fastrand::u16(0..300) * n;
    for _ in 0..50 {
        if (base..base + n).all(|port| is_free(port) && is_free(port + 1000)) {
            return Ok(base);
        }
        base += n;
    }
    ensure!(false, "no {n} free ports in a row from {base} on");
    Ok(base)
}
