//! The connections on which lines are read, and whether an error is the fault of one line or of
//! Redis.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection,
};

use crate::room::WaitingRoom;

/// How long a read waits for changes, and so the longest wait before a new line is read, too.
pub(super) const BLOCK: Duration = Duration::from_millis(100);
/// Pause before the next try to connect.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// A connection that is not shared, because its caller blocks on it.
pub(super) async fn connect(room: &WaitingRoom) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(BLOCK + Duration::from_secs(1)));
    room.store.cache.client().get_multiplexed_async_connection_with_config(&config).await
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// One line has a key of the wrong type or content.
    Line,
    /// Redis, or the way to it, fails for every line.
    Store,
}

impl Whose {
    pub(super) fn is(error: &RedisError) -> Self {
        match error.kind() {
            // The library reports WRONGTYPE as an extension error.
            ErrorKind::Extension | ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Line,
            _ => Self::Store,
        }
    }
}
