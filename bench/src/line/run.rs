//! The processes that run while the line is measured.

use std::net::Ipv4Addr;

use anyhow::{Context as _, bail};
use contract::keys::MasterKey;
use loadtest::Client;
use platform::number::float;
use usher::{seed, up::allow_many_files};

use super::settings::Line;
use crate::{
    console::Console,
    fleet::{Running, origin},
    line_probe::LineProbe,
    ports,
    stage::Stage,
    stampedes::{self, Stampedes},
    usage::Usage,
};

/// Most sockets of one stampede, if the limit of open files allows it. Linux finds the first 14,000
/// free ports of an address at once; for each later one it tries those again.
const SOCKETS_MAX: usize = 13_000;
/// Open files of a stampede that are not visitors' sockets.
const OTHER_FILES: usize = 1_000;

/// The processes, and what is used to drive and measure them.
pub(super) struct Run {
    pub(super) console: Console,
    pub(super) stage: Stage,
    pub(super) store: LineProbe,
    pub(super) nodes: Vec<Running>,
    pub(super) stampedes: Stampedes,
    /// Ingress and allocator.
    office: Vec<Running>,
    /// Tokens of visitors who were not sent yet.
    tokens: std::vec::IntoIter<String>,
    sent: usize,
}

impl Run {
    /// Makes the database and starts the processes.
    pub(super) async fn set_up(line: &Line) -> anyhow::Result<Self> {
        let mut console = Console::new();
        allow_many_files();
        let master = MasterKey::parse(&line.site.master_key)?;
        console.say("schema: bringing a database of its own up to date");
        let database_url = line.site.database("_load").await?;
        let stampedes = line.watchers_at_first().div_ceil(sockets_max()?);
        // Every visitor claims an address of its own, so that limits by address can stay on.
        let proxies = (0..stampedes).map(stampedes::address).chain([Ipv4Addr::LOCALHOST]);
        let fleet = line.site.fleet(&database_url, &proxies.collect::<Vec<_>>())?;
        // One thread each: the processes share the machine's cores with each other and the
        // visitors.
        let threads = [("TOKIO_WORKER_THREADS", "1".to_owned())];
        let ports = ports::free(2 + line.nodes)?;
        console.say(&format!("services: ingress, allocator, {} waiting rooms", line.nodes));
        let mut office = Vec::new();
        for (program, port) in [("ingress", ports[0]), ("allocator", ports[1])] {
            office.push(fleet.serve(program, program, port, &threads).await?);
        }
        let mut nodes = Vec::new();
        for (n, port) in ports[2..].iter().enumerate() {
            let name = format!("waiting-room-{}", n + 1);
            nodes.push(fleet.serve("waiting-room", &name, *port, &threads).await?);
        }
        let visitors = line.visitors();
        console.say(&format!("visitors: {visitors} accounts with tokens, and a show with a line"));
        let pool = store::connect(&database_url, "load", 2)?;
        let tokens = seed::tokens(&pool, &master, visitors).await?.into_iter();
        let client = Client::new(&origin(ports[0]))?;
        let admin = seed::Admin::ensure(&pool, &master, &client).await?;
        let stage = Stage::open(admin.client).await?;
        let store = LineProbe::open(&line.site.redis_url, stage.show).await?;
        let origins: Vec<String> = ports[2..].iter().map(|port| origin(*port)).collect();
        let stampedes = Stampedes::start(&fleet, stampedes, stage.show, &origins)?;
        console.say(&format!("stampedes: {} processes for the visitors", stampedes.len()));
        Ok(Self { console, stage, store, nodes, stampedes, office, tokens, sent: 0 })
    }

    /// New visitors, or as many as are left, shared among the stampedes: for each the number of its
    /// first visitor, and tokens.
    pub(super) fn shares(&mut self, visitors: usize) -> Vec<(usize, Vec<String>)> {
        let stampedes = self.stampedes.len();
        let share = |n: usize| {
            let share = visitors * (n + 1) / stampedes - visitors * n / stampedes;
            let tokens: Vec<String> = self.tokens.by_ref().take(share).collect();
            let first = self.sent;
            self.sent += tokens.len();
            (first, tokens)
        };
        (0..stampedes).map(share).collect()
    }

    /// Memory and processor time of the nodes.
    pub(super) fn usage(&self) -> Option<Usage> {
        Usage::of(self.nodes.iter().map(|node| node.pid))
    }

    /// Resident memory of all nodes, in bytes.
    pub(super) fn memory(&self) -> Option<f64> {
        self.usage().map(|usage| float(usage.rss_bytes))
    }

    /// An error if a service has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().chain(&mut self.office).try_for_each(Running::check)
    }

    /// Ends the run. Only accounts and a sale that is over are left.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.console.say("ending: the sale closes, the line is forgotten");
        self.stage.close().await?;
        let Self { stampedes, nodes, office, store, stage, .. } = self;
        drop((stampedes, nodes, office));
        store.forget(stage.show).await
    }
}

/// Most visitors of one stampede, by the limit of open files.
fn sockets_max() -> anyhow::Result<usize> {
    let (files, _) =
        rlimit::Resource::NOFILE.get().context("the limit of open files cannot be read")?;
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let sockets = files.saturating_sub(OTHER_FILES).min(SOCKETS_MAX);
    if sockets == 0 {
        bail!("a process may only open {files} files: raise the limit (ulimit -n)");
    }
    Ok(sockets)
}
