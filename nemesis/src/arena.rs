//! The backends of a run: a PostgreSQL, a Redis and a RabbitMQ of its own, which can be killed,
//! frozen and started again. `scripts/arena.sh` runs the machine's programs for it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::process;

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    Postgres,
    Redis,
    RabbitMq,
    /// One node of a cluster, counted from 1.
    RabbitMqNode(u8),
}

impl Backend {
    fn name(self) -> String {
        match self {
            Self::Postgres => "postgres".into(),
            Self::Redis => "redis".into(),
            Self::RabbitMq => "rabbitmq".into(),
            Self::RabbitMqNode(n) => format!("rabbitmq{n}"),
        }
    }

    fn pid_variable(self) -> String {
        match self {
            Self::RabbitMqNode(n) => format!("RABBITMQ_PID_{n}"),
            other => format!("{}_PID", other.name().to_uppercase()),
        }
    }
}

/// Backends that belong to this run alone.
pub struct Arena {
    script: PathBuf,
    folder: PathBuf,
    settings: HashMap<String, String>,
    pids: Mutex<HashMap<Backend, u32>>,
}

impl Arena {
    /// Starts the backends; with `cluster`, three brokers.
    pub async fn up(folder: PathBuf, cluster: bool) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/arena.sh");
        let mut up = vec!["up"];
        if cluster {
            up.push("--cluster");
        }
        let mut arena = Self { script, folder, settings: HashMap::new(), pids: Mutex::default() };
        let said = arena.run(&up).await?;
        for line in said.lines() {
            let line = line.trim().trim_start_matches("export ");
            if let Some((name, value)) = line.split_once('=') {
                arena.settings.insert(name.into(), value.trim_matches(['\'', '"']).into());
            }
        }
        for backend in arena.backends() {
            let pid = arena.setting(&backend.pid_variable())?.parse()?;
            arena.pids().insert(backend, pid);
        }
        Ok(arena)
    }

    /// Every backend that faults can hit.
    pub fn backends(&self) -> Vec<Backend> {
        let mut all = vec![Backend::Postgres, Backend::Redis];
        if self.is_cluster() {
            all.extend((1..=3).map(Backend::RabbitMqNode));
        } else {
            all.push(Backend::RabbitMq);
        }
        all
    }

    /// Whether the broker is a cluster of three.
    pub fn is_cluster(&self) -> bool {
        self.settings.contains_key("AMQP_URLS")
    }

    pub fn postgres_url(&self) -> anyhow::Result<&str> {
        self.setting("POSTGRES_URL")
    }

    /// A connection to Redis of its own.
    pub async fn redis(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.redis_url()?)?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    pub fn redis_url(&self) -> anyhow::Result<&str> {
        self.setting("REDIS_URL")
    }

    /// The broker's address, or those of its nodes.
    pub fn amqp_urls(&self) -> anyhow::Result<Vec<&str>> {
        match self.settings.get("AMQP_URLS") {
            Some(urls) => Ok(urls.split([',', ' ']).filter(|url| !url.is_empty()).collect()),
            None => Ok(vec![self.setting("AMQP_URL")?]),
        }
    }

    /// Sends SIGKILL. PostgreSQL's sessions notice the death of the postmaster and end.
    pub fn kill(&self, backend: Backend) {
        process::signal(self.pid(backend), "KILL");
    }

    /// Sends SIGSTOP or SIGCONT to the process and, for PostgreSQL, to each of its sessions.
    pub fn freeze(&self, backend: Backend, frozen: bool) {
        let name = if frozen { "STOP" } else { "CONT" };
        let pid = self.pid(backend);
        for child in process::children(pid) {
            process::signal(child, name);
        }
        process::signal(pid, name);
    }

    /// Starts a backend that was killed, and waits until it is ready.
    pub async fn start(&self, backend: Backend) -> anyhow::Result<()> {
        self.started(backend, &["start", &backend.name()]).await
    }

    async fn started(&self, backend: Backend, command: &[&str]) -> anyhow::Result<()> {
        let said = self.run(command).await?;
        let digits = said.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty());
        let pid = digits.context("arena.sh start printed no pid")?.parse()?;
        self.pids().insert(backend, pid);
        Ok(())
    }

    /// Cuts a node of the cluster off from the others, or joins it again.
    pub async fn part(&self, node: u8, parted: bool) -> anyhow::Result<()> {
        let command = if parted { "cut" } else { "join" };
        self.run(&[command, &node.to_string()]).await.map(drop)
    }

    /// Raises or ends the broker's memory alarm.
    pub async fn alarm(&self, on: bool) -> anyhow::Result<()> {
        self.run(&["alarm", if on { "on" } else { "off" }]).await.map(drop)
    }

    /// Suspends the process of one queue for some seconds; the rest of the broker goes on.
    pub async fn suspend(&self, queue: &str, seconds: u8) -> anyhow::Result<()> {
        self.run(&["suspend", queue, &seconds.to_string()]).await.map(drop)
    }

    /// Deletes a queue with all that is in it.
    pub async fn unqueue(&self, queue: &str) -> anyhow::Result<()> {
        self.run(&["unqueue", queue]).await.map(drop)
    }

    /// Starts a killed Redis with its last dump.
    pub async fn bring_back_redis(&self) -> anyhow::Result<()> {
        self.started(Backend::Redis, &["back"]).await
    }

    /// Whether clocks can be stepped on this machine.
    pub fn has_clocks(&self) -> bool {
        self.settings.contains_key("CLOCKS")
    }

    /// Sets the clock of PostgreSQL or Redis `seconds` away from the machine's clock.
    pub async fn step_clock(&self, backend: Backend, seconds: i16) -> anyhow::Result<()> {
        self.run(&["clock", &backend.name(), &format!("{seconds:+}")]).await.map(drop)
    }

    /// Ends everything and deletes its data.
    pub async fn down(&self) -> anyhow::Result<()> {
        self.run(&["down"]).await.map(drop)
    }

    fn pid(&self, backend: Backend) -> u32 {
        self.pids().get(&backend).copied().unwrap_or_default()
    }

    fn pids(&self) -> std::sync::MutexGuard<'_, HashMap<Backend, u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setting(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.settings.get(name).map(String::as_str);
        value.with_context(|| format!("arena.sh up did not say {name}"))
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.script);
        command.arg(arguments[0]).arg(&self.folder).args(&arguments[1..]);
        let output = command.output().await.context("scripts/arena.sh cannot be run")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("scripts/arena.sh {}: {}\n{said}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
