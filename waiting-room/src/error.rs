//! How the line can fail, and what a client is told of it.

use std::sync::Arc;

use contract::api::problem::Code;
use platform::http::ApiError;
use redis::RedisError;
use store::StoreError;
use thiserror::Error;

/// Why an operation on the line did not happen, or may not have.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    #[error("the line's store does not answer")]
    Store(#[from] RedisError),
    #[error("the line's log does not answer")]
    Log(#[from] StoreError),
    #[error("the line's store holds something unreadable: {0}")]
    Unreadable(String),
    #[error("this node does not know the line yet")]
    NotReady,
    #[error("too many joins are waiting for a place")]
    Busy,
    #[error("too many requests for places that this node does not know")]
    TooManyAsk,
    #[error("the call of the store that several joins shared failed")]
    Shared(#[source] Arc<LineError>),
}

/// Seconds after which a client should try again.
const RETRY_AFTER_S: u64 = 2;

impl From<LineError> for ApiError {
    fn from(error: LineError) -> Self {
        Self::unavailable(
            Code::LineUnavailable,
            "the line cannot be reached for a moment; you keep your place, try again",
            RETRY_AFTER_S,
        )
        .caused_by(error)
    }
}
