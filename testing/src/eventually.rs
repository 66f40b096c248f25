//! Waiting for a condition, with a limit.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

/// Calls `look` until it returns something, for `at_most`.
///
/// # Panics
/// When the time is over; the message names `what`.
pub async fn eventually<T, F, Fut>(what: &str, at_most: Duration, look: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + at_most;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {at_most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
