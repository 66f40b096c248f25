//! Processes that the bench starts from the programs beside it. Each has a log file and ends with
//! the bench.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use loadtest::client;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Longest wait for a service to be ready.
const READY_WAIT: Duration = Duration::from_mins(1);

/// How processes are started.
pub(crate) struct Fleet {
    programs: PathBuf,
    logs: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// A process that the bench started; killed when it is dropped.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) child: Child,
    log: PathBuf,
}

impl Fleet {
    /// A fleet whose processes get this environment beside our own, and log to this folder.
    pub(crate) fn new(
        logs: &Path,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("the path of this program is not known")?;
        let programs =
            own.parent().context("the path of this program names no folder")?.to_path_buf();
        std::fs::create_dir_all(logs)
            .with_context(|| format!("cannot make the folder {}", logs.display()))?;
        Ok(Self { programs, logs: logs.to_path_buf(), environment })
    }

    /// Takes the programs from another folder.
    pub(crate) fn use_programs(&mut self, folder: &Path) {
        self.programs = folder.to_path_buf();
    }

    /// Starts a program under a name, which is also the name of its log.
    pub(crate) fn start(
        &self,
        program: &str,
        name: &str,
        environment: &[(&str, String)],
        arguments: &[String],
    ) -> anyhow::Result<Running> {
        let path = self.programs.join(program);
        let log = self.logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(&path)
            .args(arguments)
            .env_remove("DATABASE_REPLICA_URL") // it follows another database
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{} cannot be started: build it, or use ./dev load", path.display())
            })?;
        let pid = child.id().context("the process has no id")?;
        Ok(Running { name: name.to_owned(), pid, child, log })
    }

    /// Starts a service on this port and waits until it is ready.
    pub(crate) async fn serve(
        &self,
        program: &str,
        name: &str,
        port: u16,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Running> {
        let listen = format!("USHER_{}_LISTEN", program.replace('-', "_").to_uppercase());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let environment = [&[(listen.as_str(), address)], environment].concat();
        let mut running = self.start(program, name, &environment, &[])?;
        running.ready(&origin(port)).await?;
        Ok(running)
    }
}

/// The URL of a service on this port.
pub(crate) fn origin(port: u16) -> String {
    format!("http://{}:{port}", Ipv4Addr::LOCALHOST)
}

impl Running {
    /// Waits until the service at `origin` is ready.
    async fn ready(&mut self, origin: &str) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WAIT;
        loop {
            let Err(missing) = client::ready(origin).await else { return Ok(()) };
            self.check()?;
            if Instant::now() > until {
                bail!("{} is not ready after {READY_WAIT:?}: {missing}", self.name);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// An error if the process has ended, with the path of its log.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): see {}", self.name, self.log.display()),
        }
    }
}
