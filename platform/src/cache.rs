//! A connection to Redis that comes back.
//!
//! `redis`'s own manager reconnects when the socket dies, but neither after timeouts nor after
//! READONLY; both are counted here, and the connection is thrown away.

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
use tracing::warn;

/// Timeouts in a row after which the connection is made anew.
const TIMEOUTS_MAX: u32 = 3;
const RESPONSE_WAIT: Duration = Duration::from_millis(500);
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Redis, as a service sees it. Cheap to clone; every call has a timeout, after which the
/// command may or may not have run.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    live: Arc<Mutex<Option<ConnectionManager>>>,
    timeouts: Arc<AtomicU32>,
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
        if let Some(connection) = live.as_ref() {
            return Ok(connection.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_WAIT))
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_number_of_retries(1);
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        *live = Some(made.clone());
        Ok(made)
    }

    /// Passes a result on, and replaces the connection when it says that it will not heal.
    pub fn observe<T>(&self, result: RedisResult<T>) -> RedisResult<T> {
        match &result {
            Ok(_) => self.timeouts.store(0, Ordering::Relaxed),
            Err(error) if self.is_hopeless(error) => {
                warn!("the connection to redis is replaced: {error}");
                *self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
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
        error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
    }
}
