//! A connection to Redis that comes back.
//!
//! `redis`'s own manager reconnects when the socket dies, but neither after timeouts nor after
//! READONLY; a [`Breaker`] counts both, and with it open the connection is thrown away and every
//! call fails at once: what Redis makes fast must not become slow by it.

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
/// Sent and not acknowledged for this long, the kernel gives a connection up, whoever holds it.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

const RULES: Rules = Rules {
    dependency: "redis",
    failures_max: 3,
    // A fresh connection is made by the first call on it.
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
    /// Prepares a connection; nothing is opened before it is used.
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

    /// A connection, shared by everybody and pipelined; an error at once while Redis is away.
    /// What comes of the call must be told to [`Self::observe`].
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

    /// Passes the result of a call on, and gives the connection up when it will not heal.
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
            // A socket that died: the manager connects again, and that tells more.
            Err(error) if error.is_io_error() => {}
            // An error that Redis itself tells is an answer.
            Ok(_) | Err(_) => self.breaker.answered(),
        }
        result
    }

    /// Whether Redis takes writes: a replica does not, and neither does one whose memory or disk is
    /// full. Writes a key that is gone a minute later.
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

/// Whether Redis cannot be there, or is not the one that can be written to.
fn is_lost(error: &RedisError) -> bool {
    error.is_connection_refusal() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
