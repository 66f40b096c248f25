//! The harness: nodes of the waiting room on backends of their own, shows, and visitors.

mod show;
mod visitor;
mod watching;
mod stores;

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use contract::place_ticket::PlaceKeys;
use platform::{
    Shutdown,
    config::{Backends, Http, Process},
};
use redis::aio::MultiplexedConnection;
use store::Pool;
use testing::{Slot, proxy::Proxy};
use tokio::net::{TcpListener, TcpSocket};
use waiting_room::{ChallengeKind, Config, LineSettings};

pub(crate) use show::Plan;
pub(crate) use visitor::Visitor;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Starts recording metrics in this process.
pub(crate) fn measure() {
    platform::telemetry::init(&Process {
        log_format: "text".into(),
        log: "warn".into(),
        drain_seconds: 0,
        shutdown_seconds: 1,
    });
}

/// The sum of a metric over all of its values whose labels contain this text.
pub(crate) fn measured(name: &str, label: &str) -> f64 {
    let text = platform::telemetry::render();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let of_name = series.split('{').next() == Some(name);
        (of_name && series.contains(label)).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

pub(crate) struct Stage {
    pub(crate) pool: Pool,
    pub(crate) redis: MultiplexedConnection,
    pub(crate) nodes: Vec<SocketAddr>,
    /// The proxy between the nodes and Redis.
    pub(crate) proxy: Proxy,
    pub(crate) place_keys: PlaceKeys,
    /// The shutdown of the test's own tasks.
    pub(crate) shutdown: Shutdown,
    stops: Vec<Shutdown>,
    /// Keeps other tests off the backends.
    pub(crate) slot: Slot,
    http: reqwest::Client,
    config: Config,
}

impl Stage {
    pub(crate) async fn new(nodes: usize) -> Self {
        Self::with(nodes, |_| ()).await
    }

    pub(crate) async fn with(nodes: usize, change: impl Fn(&mut LineSettings)) -> Self {
        Self::build(nodes, change, 10_000, None).await
    }

    /// Nodes that can hold thousands of sockets.
    pub(crate) async fn crowded(nodes: usize) -> Self {
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        Self::new(nodes).await
    }

    /// One node whose sockets buffer only `bytes` that a client does not read.
    pub(crate) async fn with_send_buffer(bytes: u32) -> Self {
        Self::build(1, |_| (), 10_000, Some(bytes)).await
    }

    /// One node that takes at most `at_most` connections.
    pub(crate) async fn with_connections(at_most: usize) -> Self {
        Self::build(1, |_| (), at_most, None).await
    }

    /// Nodes on a Redis of the test's own.
    pub(crate) async fn on(nodes: usize, redis_url: &str) -> Self {
        let mut slot = Slot::take().await;
        redis_url.clone_into(&mut slot.redis_url);
        Self::build_in(slot, nodes, |_| (), 10_000, None).await
    }

    async fn build(
        nodes: usize,
        change: impl Fn(&mut LineSettings),
        connections_max: usize,
        send_buffer: Option<u32>,
    ) -> Self {
        Self::build_in(Slot::take().await, nodes, change, connections_max, send_buffer).await
    }

    async fn build_in(
        slot: Slot,
        nodes: usize,
        change: impl Fn(&mut LineSettings),
        connections_max: usize,
        send_buffer: Option<u32>,
    ) -> Self {
        let mut redis_url = slot.redis_url.clone();
        let proxy = Proxy::before(&mut redis_url).await;
        let mut line = LineSettings {
            pass_seconds: 300,
            grace_seconds: 120,
            rebuild_seconds: 2,
            sockets_per_account_max: 5,
            challenge: ChallengeKind::Off,
            challenge_bits: 12,
            limit_joins_per_second: NonZeroU32::new(10_000).unwrap(),
        };
        change(&mut line);
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            backends: Backends {
                database_url: slot.database_url.clone(),
                database_replica_url: None,
                redis_url,
                amqp_url: slot.amqp_url.clone(),
                master_key: slot.master_key(),
                database_connections_max: 4,
            },
            http: Http {
                connections_max,
                trusted_proxies: Vec::new(),
                allowed_origins: "https://tickets.example".parse().unwrap(),
                metrics_listen: "127.0.0.1".parse().unwrap(),
            },
            line,
        };
        let mut stage = Self {
            pool: slot.pool(),
            redis: slot.redis().await,
            nodes: Vec::new(),
            proxy,
            place_keys: PlaceKeys::new(&slot.master_key()),
            shutdown: Shutdown::default(),
            stops: Vec::new(),
            slot,
            http: reqwest::Client::new(),
            config,
        };
        stage.shutdown.spawn(keep_counting(stage.pool.clone(), stage.shutdown.clone()));
        for _ in 0..nodes {
            let stop = Shutdown::default();
            let address = stage.start_node(send_buffer, &stop).await;
            stage.nodes.push(address);
            stage.stops.push(stop);
        }
        stage
    }

    /// Starts another node, which ends with the stage.
    pub(crate) async fn another_node(&self) -> SocketAddr {
        self.start_node(None, &self.shutdown).await
    }

    async fn start_node(&self, send_buffer: Option<u32>, shutdown: &Shutdown) -> SocketAddr {
        let service = waiting_room::start(&self.config, shutdown).await.unwrap();
        let listener = listen(self.config.listen, send_buffer);
        let address = listener.local_addr().unwrap();
        let (stop, http) = (shutdown.clone(), self.config.http.clone());
        shutdown.spawn(async move {
            platform::http::serve(listener, service, &http, &stop).await;
        });
        address
    }

    /// Stops a node gracefully.
    pub(crate) fn stop_node(&self, node: usize) {
        self.stops[node].begin();
    }
}

/// Notes that an allocator looks at every queue; without that the lines would be held.
async fn keep_counting(pool: Pool, stop: Shutdown) {
    while stop.sleep(Duration::from_secs(1)).await {
        let count = sqlx::query("update backlogs set seen_at = clock_timestamp()");
        // Fails if a test has locked the table.
        let _ = count.execute(&pool).await;
    }
}

fn listen(address: SocketAddr, send_buffer: Option<u32>) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = send_buffer {
        // Connections inherit the size.
        socket.set_send_buffer_size(bytes).unwrap();
    }
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.begin();
        self.stops.iter().for_each(Shutdown::begin);
    }
}
