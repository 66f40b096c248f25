//! Waiting for something to come true.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

/// Looks again and again until there is something, for `at_most`.
///
/// # Panics
/// When the time is over.
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
