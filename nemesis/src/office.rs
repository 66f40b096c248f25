//! Acts of operators in the middle of a sale: closing it early, deleting a queue by hand.

use std::{sync::PoisonError, time::Duration};

use anyhow::{Context as _, ensure};
use contract::topology::Partition;
use fastrand::Rng;
use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use store::Pool;
use tokio::time::{Instant, sleep};

use crate::{
    api::{Api, Call},
    arena::Arena,
    buyer::{Buyer, Visit, Wishes},
    check::left_over,
    fleet::{Fleet, Service},
    history::Pen,
    sale::{AccountToken, Hall, Purpose},
};

/// How long bookings are accepted while batches wait.
const GATHERS: Duration = Duration::from_millis(1_500);
/// Longest wait until more bookings wait than a consumer has in hand.
const FULL_WITHIN: Duration = Duration::from_secs(9);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// From the end of a sale until an allocator that believed a count alone would look for the last
/// time.
const LAST_LOOKS_AFTER: Duration = Duration::from_secs(4);
/// Time for two looks; less than the broker waits for a queue that is to be deleted.
const SILENT_SECONDS: u8 = 4;
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// Time until a deleted queue is declared again and safe. If RabbitMQ 3.10.8 is killed less than
/// two seconds after a queue was deleted and declared again, the queue takes no more messages and
/// loses confirmed ones.
const DECLARED: Duration = Duration::from_secs(5);
/// Buyers who book right after a queue was deleted. They have wishes of their own, since a key is
/// used once.
const BOOKERS: usize = 6;

/// The operators, and buyers of their own to test with.
pub struct Office<'a> {
    pub http: &'a reqwest::Client,
    pub fleet: &'a Fleet,
    pub pool: &'a Pool,
    pub halls: &'a [Hall],
    /// Token of an administrator.
    pub token: String,
    /// Buyers of the show that the crowd does not book.
    pub buyers: Vec<AccountToken>,
    pub pen: Pen,
    pub until: Instant,
    pub seed: u64,
    pub visits: tokio::sync::Mutex<Vec<Visit>>,
    /// Partitions whose queue was deleted with bookings in it.
    pub emptied: std::sync::Mutex<Vec<Partition>>,
    /// Held while a deleted queue is declared again, so that no broker is killed meanwhile.
    pub declaring: tokio::sync::Mutex<()>,
}

impl Office<'_> {
    /// The queue of the `n`th partition of the run.
    pub fn queue(&self, n: usize) -> anyhow::Result<String> {
        let queues: Vec<String> =
            self.halls.iter().flat_map(Hall::partitions).map(|p| p.queue()).collect();
        queues.get(n % queues.len().max(1)).cloned().context("the run has no partition")
    }

    /// Closes the sale that ends early. If `slow`, accepted bookings wait in their batches, and the
    /// queue is suspended during the last looks at it.
    pub async fn close(&self, arena: &Arena, slow: bool) -> anyhow::Result<()> {
        let hall = self.hall(Purpose::EndsEarly)?;
        if !slow {
            return self.end_sale(hall).await;
        }
        let mut session = hold_up(arena, hall).await?;
        sleep(GATHERS).await;
        self.end_sale(hall).await?;
        sleep(LAST_LOOKS_AFTER).await;
        let queue = hall.partitions().next().context("the show has no partition")?.queue();
        let suspended = arena.suspend(&queue, SILENT_SECONDS).await;
        // Another fault may have ended the session, and with it the lock.
        let _ = sqlx::query("rollback").execute(&mut session).await;
        suspended
    }

    /// Deletes the queue that the crowd does not use, once everything accepted for it is decided.
    /// Then bookings come, and none may be lost.
    pub async fn unqueue(&self, arena: &Arena) -> anyhow::Result<()> {
        let hall = self.hall(Purpose::Aside)?;
        let mut visits = self.visits.lock().await;
        for story in visits.iter().flat_map(|visit| &visit.stories) {
            ensure!(story.accepted || !story.unknown, "who knows what is still in it");
            for id in &story.ids {
                let find = "select exists (select from bookings where booking_id = $1)";
                let is_decided: bool =
                    sqlx::query_scalar(find).bind(id.0).fetch_one(self.pool).await?;
                ensure!(is_decided, "there are bookings in it");
            }
        }
        let queue = hall.partitions().next().context("the show has no partition")?.queue();
        let declaring = self.declaring.lock().await;
        arena.unqueue(&queue).await?;
        let first = visits.len();
        let mut rng = Rng::with_seed(!self.seed - u64::try_from(first)?);
        let buying = (first..first + BOOKERS).map(|n| {
            let (account, token) = &self.buyers[n % self.buyers.len()];
            let buyer = Buyer {
                name: format!("aside {n}"),
                account: *account,
                api: Api::new(self.http, self.fleet, token, n),
                wishes: Wishes::draw(std::slice::from_ref(hall), &mut rng),
                pen: self.pen.clone(),
                until: self.until,
            };
            buyer.shop()
        });
        let declared = async {
            sleep(DECLARED).await;
            drop(declaring);
        };
        visits.extend(join(join_all(buying), declared).await.0);
        Ok(())
    }

    /// Deletes a full queue while batches wait. Its bookings are lost, and the checks must notice.
    pub async fn unqueue_full(&self, arena: &Arena) -> anyhow::Result<()> {
        let hall = self.halls.first().context("the run has no show")?;
        let partition = hall.partitions().next().context("the show has no partition")?;
        let mut session = hold_up(arena, hall).await?;
        // Deliveries that the consumer has in hand are decided, and so not lost.
        let until = Instant::now() + FULL_WITHIN;
        while !left_over(arena, std::slice::from_ref(hall))
            .await?
            .iter()
            .any(|left| left.starts_with(&partition.queue()))
        {
            ensure!(Instant::now() < until, "no more came than one consumer has in hand");
            sleep(LOOK_EVERY).await;
        }
        arena.unqueue(&partition.queue()).await?;
        let _ = sqlx::query("rollback").execute(&mut session).await;
        self.emptied.lock().unwrap_or_else(PoisonError::into_inner).push(partition);
        Ok(())
    }

    async fn end_sale(&self, hall: &Hall) -> anyhow::Result<()> {
        let api = Api::new(self.http, self.fleet, &self.token, 1);
        let path = format!("/shows/{}/close", hall.show);
        let until = Instant::now() + CLOSED_WITHIN;
        loop {
            let call = Call::new(Service::Ingress, Method::POST, &path).body(json!({}));
            let answer = api.call(&call).await;
            if answer.as_ref().is_some_and(|answer| answer.status == 200) {
                self.pen.note("operator", "closed", &json!({"show": hall.show}));
                return Ok(());
            }
            ensure!(Instant::now() < until, "the sale was not closed: {answer:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn hall(&self, purpose: Purpose) -> anyhow::Result<&Hall> {
        self.halls.iter().find(|hall| hall.purpose == purpose).context("the run has no such show")
    }
}

/// A session that locks the partitions of a show, so that batches wait.
async fn hold_up(arena: &Arena, hall: &Hall) -> anyhow::Result<PgConnection> {
    let mut session = PgConnection::connect(arena.postgres_url()?).await?;
    for set in ["set idle_in_transaction_session_timeout = 0", "set lock_timeout = '3s'", "begin"] {
        sqlx::query(set).execute(&mut session).await?;
    }
    let take = "select from partitions where show_id = $1 order by tier for update";
    sqlx::query(take).bind(hall.show.0).execute(&mut session).await?;
    Ok(session)
}
