//! Opens as many connections as the sessions need, because a connection has a bounded number of
//! channels.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};

use super::{Broker, Consumer};
use crate::Shutdown;

/// Channels assumed for a connection while no connection is up to ask.
const CHANNELS_MAX: usize = 2_047;
/// Longest wait of a trial for its connection.
const TRIAL_WAIT: Duration = Duration::from_secs(5);
/// Trials at once. A trial that loses the connection fails these others, too.
const TRIALS_MAX: usize = 8;

/// Connections that are opened as they are needed, each supervised. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    url: String,
    name: String,
    shutdown: Shutdown,
    open: Mutex<Vec<Counted>>,
    trials: Semaphore,
    /// The connection of all trials, opened for the first trial.
    on_trial: OnceCell<Broker>,
}

#[derive(Clone)]
struct Counted {
    broker: Broker,
    slots_taken: Arc<AtomicUsize>,
}

/// A slot on a connection: room for one session, until it is dropped.
pub struct ConsumerSlot {
    /// The connection.
    pub broker: Broker,
    slots_taken: Arc<AtomicUsize>,
}

impl Drop for ConsumerSlot {
    fn drop(&mut self) {
        self.slots_taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    /// Keeps a connection open until the shutdown begins, and opens others as slots are taken.
    pub fn start(url: &str, name: &str, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let connections = Self(Arc::new(Shared {
            url: url.to_owned(),
            name: name.to_owned(),
            shutdown: shutdown.clone(),
            open: Mutex::default(),
            trials: Semaphore::new(TRIALS_MAX),
            on_trial: OnceCell::new(),
        }));
        connections.slot()?;
        Ok(connections)
    }

    /// The connection that is opened at the start.
    #[must_use]
    pub fn first(&self) -> Broker {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.first().expect("`start` opens a connection").broker.clone()
    }

    /// Tries whether a queue can be consumed. A faulty queue can end its connection, so trials have
    /// a connection of their own. At most [`TRIALS_MAX`] run at once; others wait.
    pub async fn try_out(&self, queue: &str) -> anyhow::Result<()> {
        let Shared { url, name, shutdown, trials, on_trial, .. } = &*self.0;
        let _turn = trials.acquire().await?;
        let connect = async || Broker::connect(url, &format!("{name}-trials"), shutdown);
        let mut broker = on_trial.get_or_try_init(connect).await?.clone();
        let link = timeout(TRIAL_WAIT, broker.link_soon()).await?.context("the process stops")?;
        Consumer::open(link, queue, 1).await?.close().await;
        Ok(())
    }

    /// Takes a slot for one session, and opens a connection if no open one has room.
    pub fn slot(&self) -> anyhow::Result<ConsumerSlot> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection that is not up yet will have as many channels as the others.
        let channels =
            open.iter().filter_map(|counted| Some(counted.broker.link()?.channels_max())).min();
        // Half of the channels are for sessions: declaring and inspecting queues needs channels,
        // too.
        let slots_max = (channels.unwrap_or(CHANNELS_MAX) / 2).max(1);
        let has_room = |counted: &&Counted| counted.slots_taken.load(Ordering::Relaxed) < slots_max;
        let counted = if let Some(counted) = open.iter().find(has_room) {
            counted.clone()
        } else {
            let name = match open.len() {
                0 => self.0.name.clone(),
                n => format!("{}-{}", self.0.name, n + 1),
            };
            let broker = Broker::connect(&self.0.url, &name, &self.0.shutdown)?;
            let counted = Counted { broker, slots_taken: Arc::default() };
            open.push(counted.clone());
            counted
        };
        counted.slots_taken.fetch_add(1, Ordering::Relaxed);
        Ok(ConsumerSlot { broker: counted.broker, slots_taken: counted.slots_taken })
    }
}
