//! Stopping a process: load balancers are told to send nothing more; then tasks are asked to
//! finish, waited for, and given up. A crash skips the first step.

use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

/// The end of a process, shared by everything it runs. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    is_draining: Arc<AtomicBool>,
    crashed: Arc<OnceLock<&'static str>>,
}

impl Shutdown {
    /// Whether stopping has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when stopping begins.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// A token that is cancelled with this shutdown and can be cancelled before it.
    #[must_use]
    pub fn child(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Whether this process will stop soon and should get no new requests.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed) || self.has_begun()
    }

    /// The vital task whose end began the stopping, if one did.
    #[must_use]
    pub fn crashed(&self) -> Option<&'static str> {
        self.crashed.get().copied()
    }

    /// Goes on for `time` while `/readyz` answers 503, then asks everything to stop. A crash does
    /// not wait for that.
    pub async fn drain(&self, time: Duration) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.sleep(time).await;
        self.begin();
    }

    /// Asks everything to stop.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Starts a task that stopping waits for. It must end soon after [`Self::begun`].
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Starts a task without which the process is useless: when it ends before its time, by
    /// panic or return, the whole process stops, and [`Self::crashed`] is its name.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.clone();
        let inner = self.spawn(task);
        self.tasks.spawn(async move {
            let ended = inner.await;
            if !shutdown.has_begun() {
                error!(
                    task = name,
                    panicked = ended.is_err(),
                    "{name} ended before its time; stopping"
                );
                let _ = shutdown.crashed.set(name);
                shutdown.begin();
            }
        });
    }

    /// Begins stopping and waits for every task, for `at_most`. Returns whether all ended.
    pub async fn finish(&self, at_most: Duration) -> bool {
        self.begin();
        self.tasks.close();
        let finished = tokio::time::timeout(at_most, self.tasks.wait()).await.is_ok();
        if !finished {
            warn!(tasks = self.tasks.len(), "gave up waiting for tasks to end");
        }
        finished
    }

    /// Sleeps, unless stopping begins first. Returns whether to go on.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.token.cancelled() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_vital_task_that_ends_before_its_time_ends_a_drain_and_is_remembered() {
        for panics in [false, true] {
            let shutdown = Shutdown::default();
            let draining = shutdown.clone();
            let drain = shutdown.spawn(async move { draining.drain(Duration::MAX).await });
            let vital = shutdown.clone();
            shutdown.spawn_vital("vital", async move {
                while !vital.is_draining() {
                    tokio::task::yield_now().await;
                }
                assert!(!panics, "on purpose");
            });
            assert_eq!(shutdown.crashed(), None);
            timeout(SOON, drain).await.expect("a crash does not drain").unwrap();
            assert_eq!(shutdown.crashed(), Some("vital"));
        }
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_when_asked_is_no_crash() {
        let shutdown = Shutdown::default();
        let asked = shutdown.clone();
        shutdown.spawn_vital("vital", async move { asked.begun().await });
        shutdown.drain(Duration::ZERO).await;
        assert!(shutdown.finish(SOON).await);
        assert_eq!(shutdown.crashed(), None);
    }
}
