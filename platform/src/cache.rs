//! A connection to Redis that comes back.
//!
//! `redis`'s own manager reconnects when the socket dies, but neither after timeouts nor after
//! READONLY; both are counted here, and the connection is thrown away. For a second after that, and
//! after a refused connection, every call fails at once instead of waiting: what Redis makes fast
//! must not become slow by it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{
    Client, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::Instant;
use tracing::warn;

/// Timeouts in a row after which the connection is made anew.
const TIMEOUTS_MAX: u32 = 3;
const RESPONSE_WAIT: Duration = Duration::from_millis(500);
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// How long Redis is taken for away before it is tried again.
const AWAY: Duration = Duration::from_secs(1);

/// Redis, as a service sees it. Cheap to clone; every call has a timeout, after which the
/// command may or may not have run.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    live: Arc<Mutex<Live>>,
    timeouts: Arc<AtomicU32>,
}

#[derive(Default)]
struct Live {
    connection: Option<ConnectionManager>,
    away_until: Option<Instant>,
}

impl Cache {
    /// Prepares a connection; nothing is opened before it is used.
    pub fn new(url: &str) -> RedisResult<Self> {
        Ok(Self { client: Client::open(url)?, live: Arc::default(), timeouts: Arc::default() })
    }

    /// The client, for connections of another kind, such as a blocking read of a stream.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A connection, shared by everybody and pipelined.
    pub fn connection(&self) -> RedisResult<ConnectionManager> {
        let mut live = self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if live.away_until.is_some_and(|until| Instant::now() < until) {
            return Err(RedisError::from((ErrorKind::Io, "redis is away")));
        }
        if let Some(connection) = &live.connection {
            return Ok(connection.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_WAIT))
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_number_of_retries(1);
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        live.connection = Some(made.clone());
        Ok(made)
    }

    /// Passes a result on, and replaces the connection when it says that it will not heal.
    pub fn observe<T>(&self, result: RedisResult<T>) -> RedisResult<T> {
        match &result {
            Ok(_) => self.timeouts.store(0, Ordering::Relaxed),
            Err(error) if self.is_hopeless(error) => {
                warn!("redis is taken for away: {error}");
                metrics::counter!("usher_cache_away_total").increment(1);
                let mut live = self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *live = Live { connection: None, away_until: Some(Instant::now() + AWAY) };
                self.timeouts.store(0, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        result
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), String> {
        let answer = async {
            let mut connection = self.connection()?;
            redis::cmd("PING").query_async::<()>(&mut connection).await
        };
        self.observe(answer.await).map_err(|error| error.to_string())
    }

    fn is_hopeless(&self, error: &RedisError) -> bool {
        if error.is_timeout() {
            return self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_MAX;
        }
        error.is_connection_refusal()
            || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
    }
}
