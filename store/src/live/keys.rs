//! The keys of passes, read again now and then because they are rotated.

use std::{sync::Arc, time::Duration};

use contract::keys::MasterKey;
use platform::Shutdown;
use tokio::sync::watch;
use tracing::warn;

use crate::{
    Pool, StoreResult,
    keys::{self, PassKeySet},
};

/// How often keys are read: every node must know a new key before it signs.
const REFRESH: Duration = Duration::from_secs(10);
const _: () = assert!(REFRESH.as_millis() * 3 < keys::KNOWN_AFTER.as_millis());

/// Reads the keys, makes the first one if there is none, and reads them again until the shutdown
/// begins. While they cannot be read, the last ones are kept.
pub async fn watch(
    pool: &Pool,
    master: &MasterKey,
    shutdown: &Shutdown,
) -> StoreResult<watch::Receiver<Arc<PassKeySet>>> {
    keys::ensure(pool, master).await?;
    let (set, keys) = watch::channel(Arc::new(keys::load(pool, master).await?));
    let (pool, master, stop) = (pool.clone(), master.clone(), shutdown.clone());
    shutdown.spawn_vital("keys of passes", async move {
        while stop.sleep(REFRESH).await {
            match keys::load(&pool, &master).await {
                Ok(fresh) => _ = set.send_replace(Arc::new(fresh)),
                Err(error) => {
                    warn!("the keys of passes cannot be read: {:#}", anyhow::Error::from(error));
                }
            }
        }
    });
    Ok(keys)
}
