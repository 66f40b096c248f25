//! The connections on which lines are read, and whose fault their errors are.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection,
};

use crate::room::Room;

/// A read waits so long for changes; a line that is new to this node is read after that at most.
pub(super) const BLOCK: Duration = Duration::from_millis(100);
/// Without a connection, the next try waits so long.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// A connection of its own, for whoever waits on it.
pub(super) async fn connect(room: &Room) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(BLOCK + Duration::from_secs(1)));
    room.store.cache.client().get_multiplexed_async_connection_with_config(&config).await
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of one line: a key of it is not what it should be.
    Line,
    /// Of the store, or the way to it: every line has it.
    Store,
}

impl Whose {
    pub(super) fn is(error: &RedisError) -> Self {
        match error.kind() {
            // WRONGTYPE is one of the codes that the library has no word for.
            ErrorKind::Extension | ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Line,
            _ => Self::Store,
        }
    }
}
