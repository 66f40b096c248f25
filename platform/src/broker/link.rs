//! One connection to the broker, supervised.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use contract::{deadline::HEARTBEAT, keys};
use futures_util::StreamExt as _;
use lapin::{Channel, Connection, ConnectionProperties, Event, uri::AMQPUri};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Shutdown;

const CONNECT_WAIT: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A connection that is up, until its token is cancelled.
pub struct Link {
    connection: Connection,
    blocked: AtomicBool,
    dead: CancellationToken,
}

impl Link {
    /// Opens a channel, or fails after [`CONNECT_WAIT`].
    pub async fn channel(&self) -> anyhow::Result<Channel> {
        let opened = tokio::time::timeout(CONNECT_WAIT, self.connection.create_channel()).await;
        opened.context("the broker did not open a channel in time")?.context("no channel")
    }

    /// How many channels the connection can have at once.
    #[must_use]
    pub fn channels_max(&self) -> usize {
        match self.connection.configuration().channel_max() {
            0 => usize::from(u16::MAX),
            channels => channels.into(),
        }
    }

    /// Whether the broker has asked us to stop publishing.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether the connection is lost. Its channels and deliveries must not be used again.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled() || !self.connection.status().connected()
    }

    /// Resolves when the connection is lost.
    pub async fn died(&self) {
        self.dead.cancelled().await;
    }
}

/// A supervised connection. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    live: watch::Receiver<Option<Arc<Link>>>,
}

impl Broker {
    /// Keeps a connection open until the shutdown begins. `name` shows in the broker's lists.
    pub fn connect(url: &str, name: &str, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let mut uri: AMQPUri = url.parse().map_err(|error| {
            anyhow::anyhow!(
                "AMQP_URL cannot be read ({error}): amqp://user:password@host:port/vhost"
            )
        })?;
        uri.query.heartbeat =
            Some(u16::try_from(HEARTBEAT.as_secs()).expect("a heartbeat of seconds"));
        let (set_live, live) = watch::channel(None);
        let (name, stop) = (name.to_owned(), shutdown.clone());
        shutdown.spawn_vital("broker connection", async move {
            supervise(uri, &name, &set_live, &stop).await;
            set_live.send_replace(None);
        });
        Ok(Self { live })
    }

    /// The connection, if it is up now.
    #[must_use]
    pub fn link(&self) -> Option<Arc<Link>> {
        self.live.borrow().clone().filter(|link| !link.is_dead())
    }

    /// The connection, as soon as it is up; `None` when the process stops first.
    pub async fn link_soon(&mut self) -> Option<Arc<Link>> {
        let up = self.live.wait_for(|link| link.as_ref().is_some_and(|link| !link.is_dead()));
        up.await.ok().and_then(|link| link.clone())
    }

    /// Whether the broker is there, for `/readyz`.
    pub fn check(&self) -> Result<(), String> {
        match self.link() {
            None => Err("no connection".into()),
            Some(link) if link.is_blocked() => Err("blocked by a resource alarm".into()),
            Some(_) => Ok(()),
        }
    }
}

async fn supervise(
    uri: AMQPUri,
    name: &str,
    live: &watch::Sender<Option<Arc<Link>>>,
    stop: &Shutdown,
) {
    let mut wait = RETRY_MIN;
    while !stop.has_begun() {
        match open(&uri, name).await {
            Ok(link) => {
                wait = RETRY_MIN;
                info!(name, "connected to the broker");
                live.send_replace(Some(Arc::clone(&link)));
                metrics::gauge!("usher_broker_connected", "name" => name.to_owned()).set(1.0);
                watch_over(&link, stop).await;
                metrics::gauge!("usher_broker_connected", "name" => name.to_owned()).set(0.0);
                live.send_replace(None);
                let closing = link.connection.close(200, "done".into());
                let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
            }
            Err(error) => warn!(name, "the broker cannot be reached, trying again: {error:#}"),
        }
        // Jitter, so that a hundred nodes do not connect again at the same moment.
        let jitter = Duration::from_millis(u64::from(keys::random::<1>()[0]));
        if !stop.sleep(wait + jitter).await {
            return;
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn open(uri: &AMQPUri, name: &str) -> anyhow::Result<Arc<Link>> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connect_uri(uri.clone(), properties);
    let connection = tokio::time::timeout(CONNECT_WAIT, connecting).await??;
    Ok(Arc::new(Link {
        connection,
        blocked: AtomicBool::new(false),
        dead: CancellationToken::new(),
    }))
}

/// Returns when the connection is lost, given up, or no longer wanted.
async fn watch_over(link: &Link, stop: &Shutdown) {
    let mut events = std::pin::pin!(link.connection.events_listener());
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            // Sessions may finish their work on the open connection for 0.5 s.
            () = stop.begun() => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                break;
            }
            () = link.dead.cancelled() => break,
            _ = look.tick() => if !link.connection.status().connected() { break },
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(why)) => {
                    warn!("the broker blocks publishers: {why}");
                    link.blocked.store(true, Ordering::Relaxed);
                }
                Some(Event::ConnectionUnblocked) => link.blocked.store(false, Ordering::Relaxed),
                // Errors of one channel arrive here, too; they end that channel only.
                Some(Event::Error(error)) if !link.connection.status().connected() => {
                    warn!("the connection to the broker is lost: {error}");
                    break;
                }
                Some(_) => {}
                None => break,
            },
        }
    }
    link.dead.cancel();
}
