//! A connection to Redis that comes back.
//!
//! `redis`'s own manager reconnects when the socket dies, but neither after timeouts nor after
//! READONLY. A [`Breaker`] counts both. While it is open, there is no connection and every call
//! fails at once: Redis is there for speed and must not slow its callers down.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{
    Client, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use tokio::time::Instant;
use tracing::debug;

use crate::breaker::{Breaker, Rules};

const RESPONSE_WAIT: Duration = Duration::from_millis(500);
const CONNECT_WAIT: Duration = Duration::from_millis(500);
/// The kernel closes a connection on which sent data is not acknowledged for this long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

const RULES: Rules = Rules {
    dependency: "redis",
    failures_max: 3,
    // The first call on a connection also waits for the connection.
    call_wait: CONNECT_WAIT.saturating_add(RESPONSE_WAIT),
};

/// Redis, as a service sees it. Cheap to clone; every call has a timeout, after which the
/// command may or may not have run.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    live: Arc<Mutex<Option<ConnectionManager>>>,
    breaker: Breaker,
}

impl Cache {
    /// Prepares a connection, which is opened when it is first used.
    pub fn new(url: &str) -> RedisResult<Self> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED_MAX);
        let client = Client::open(url.into_connection_info()?.set_tcp_settings(tcp))?;
        Ok(Self { client, live: Arc::default(), breaker: Breaker::new(RULES) })
    }

    /// The client, for connections of another kind, such as a blocking read of a stream.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A pipelined connection that all callers share; fails at once while Redis is away. Pass the
    /// result of the call to [`Self::observe`].
    pub fn connection(&self) -> RedisResult<ConnectionManager> {
        if let Err(away) = self.breaker.enter() {
            return Err(RedisError::from((ErrorKind::Io, "not asked", away.to_string())));
        }
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = live.as_ref() {
            return Ok(connection.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_WAIT))
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_number_of_retries(0);
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        *live = Some(made.clone());
        Ok(made)
    }

    /// Passes the result of a call on, and gives the connection up if it will not recover.
    pub fn observe<T>(&self, result: RedisResult<T>) -> RedisResult<T> {
        match &result {
            Err(error) if is_lost(error) => {
                self.breaker.lost();
                self.give_up(error);
            }
            Err(error) if error.is_timeout() => {
                if self.breaker.failed(Instant::now()) {
                    self.give_up(error);
                }
            }
            // The socket died. The manager connects again, and the result of that says more.
            Err(error) if error.is_io_error() => {}
            // An error that Redis itself reports is an answer.
            Ok(_) | Err(_) => self.breaker.answered(),
        }
        result
    }

    /// Whether Redis takes writes, which a replica or a server with full memory or disk does not.
    /// Writes a key that expires a minute later.
    pub async fn can_write(&self, key: &str) -> Result<(), String> {
        let mut connection = self.connection().map_err(|error| error.to_string())?;
        let mut write = redis::cmd("SET");
        write.arg(key).arg(1).arg("EX").arg(60);
        let answer = write.query_async::<()>(&mut connection).await;
        self.observe(answer).map_err(|error| error.to_string())
    }

    fn give_up(&self, error: &RedisError) {
        debug!("the connection to redis is given up: {error}");
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether Redis is certainly away, or is a replica that cannot be written to.
fn is_lost(error: &RedisError) -> bool {
    error.is_connection_refusal() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
