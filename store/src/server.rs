//! The database server: how long calls wait for it, and what its answers say about it.

use std::time::Duration;

use platform::breaker::Breaker;
use sqlx::Error;
use tokio::time::Instant;

use crate::error::spoils_connection;

/// What a pool and its connections know of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) connections: sqlx::PgPool,
    pub(crate) breaker: Breaker,
    /// Longest wait for a statement's answer.
    pub(crate) statement_wait: Duration,
}

impl Server {
    /// Counts an answer of the database, whatever the answer is.
    pub(crate) fn answered(&self) {
        self.breaker.answered();
    }

    /// Counts an error of a call that began at `began`. Returns whether the connection must be
    /// closed.
    pub(crate) fn observe(&self, began: Instant, error: &Error) -> bool {
        if matches!(error, Error::Database(_)) {
            self.breaker.answered();
            let is_spoilt = spoils_connection(error);
            if is_spoilt {
                // A change of the schema spoils the plans of all connections.
                self.close_idle();
            }
            return is_spoilt;
        }
        let is_silence = matches!(
            error,
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut
        );
        if is_silence && self.breaker.failed(began) {
            // Idle connections are silent, too, and each would cost a caller a wait to find out.
            self.close_idle();
        }
        is_silence
    }

    fn close_idle(&self) {
        while let Some(idle) = self.connections.try_acquire() {
            drop(idle.detach());
        }
    }
}
