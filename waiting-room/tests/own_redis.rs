//! A Redis of the test's own, which can be killed, started from a dump, and replicated.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use testing::eventually;

const SOON: Duration = Duration::from_secs(20);

pub(crate) struct OwnRedis {
    pub(crate) address: SocketAddr,
    process: Child,
    directory: PathBuf,
}

impl OwnRedis {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_with(|command| command).await
    }

    /// Starts one whose command is changed first.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let name = format!("usher-test-redis-{}", uuid::Uuid::new_v4());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut command = program(address, &directory);
        let process =
            change(&mut command).spawn().expect("redis-server: ./dev services installs it");
        let redis = Self { address, process, directory };
        redis.answers().await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) async fn tell(&self, words: &[&str]) -> redis::Value {
        let (name, rest) = words.split_first().unwrap();
        let mut connection = self.connection().await;
        redis::cmd(name).arg(rest).query_async(&mut connection).await.unwrap()
    }

    /// Kills it; data it has not written to disk is lost.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again with the data it has written.
    pub(crate) async fn start_again(&mut self) {
        self.process = program(self.address, &self.directory).spawn().unwrap();
        self.answers().await;
    }

    /// Waits until this replica has all data of its master.
    pub(crate) async fn has_caught_up(&self) {
        eventually("the replica has caught up", SOON, || async {
            let mut connection = self.connection().await;
            let info: String =
                redis::cmd("INFO").arg("replication").query_async(&mut connection).await.unwrap();
            info.contains("master_link_status:up").then_some(())
        })
        .await;
    }

    async fn answers(&self) {
        eventually("redis answers", SOON, || async {
            let client = redis::Client::open(self.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn program(address: SocketAddr, directory: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::null());
    command
}
