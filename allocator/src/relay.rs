//! The relay: committed events go to the broker, and are marked once it has confirmed them. An
//! event may go twice, never not at all.

use std::time::Duration;

use contract::topology::EVENTS;
use futures_util::future::join_all;
use store::outbox;
use tracing::warn;

use crate::Office;

/// Events taken at once; their rows stay locked until the broker has confirmed.
const TAKEN_MAX: i64 = 500;
/// How often the outbox is looked at where nothing woke the relay: others commit, too.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const FAILED_WAIT: Duration = Duration::from_millis(500);

/// Relays until the shutdown begins, and once more after it.
pub(crate) async fn run(office: Office) {
    let mut last_round = false;
    loop {
        match relay(&office).await {
            Ok(true) => continue,
            _ if last_round => return,
            Ok(false) => {}
            Err(error) => {
                warn!("events wait in the outbox: {error:#}");
                tokio::time::sleep(FAILED_WAIT).await;
            }
        }
        tokio::select! {
            () = office.events.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = office.shutdown.begun() => last_round = true,
        }
    }
}

/// Relays what is there, up to the bound. Returns whether more may be waiting.
async fn relay(office: &Office) -> anyhow::Result<bool> {
    let mut tx = office.pool.begin().await?;
    let taken = outbox::take(&mut tx, TAKEN_MAX).await?;
    if taken.is_empty() {
        tx.commit().await?;
        return Ok(false);
    }
    let publishing = taken.iter().map(|event| async {
        let published = office.publisher.publish(EVENTS, &event.routing_key, &event.body).await;
        published.map(|()| event.outbox_id)
    });
    let results = join_all(publishing).await;
    let confirmed: Vec<i64> =
        results.iter().filter_map(|result| result.as_ref().ok()).copied().collect();
    outbox::mark_published(&mut tx, &confirmed).await?;
    tx.commit().await?;
    metrics::counter!("usher_events_published_total").increment(confirmed.len() as u64);
    match results.into_iter().find_map(Result::err) {
        Some(error) => Err(error.into()),
        None => Ok(i64::try_from(taken.len()) == Ok(TAKEN_MAX)),
    }
}
