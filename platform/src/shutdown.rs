//! Stopping: work is asked to finish, waited for, and then given up.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

/// The end of a process, shared by everything it runs. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
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
    /// panic or return, the whole process stops.
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
                shutdown.begin();
            }
        });
    }

    /// Begins stopping and waits for every task, at most so long. Returns whether all ended.
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
