//! What operators do in the middle of a sale: end it early, delete a queue by hand.

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
    fleet::{Fleet, Role},
    history::Pen,
    sale::{Hall, Purpose, Ticket},
};

/// Bookings that are accepted while batches wait.
const GATHERS: Duration = Duration::from_millis(1_500);
/// More of them than a consumer has in hand, on a slow machine.
const FULL_WITHIN: Duration = Duration::from_secs(9);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// From the end of a sale until its queue is looked at for the last time, where a look is believed.
const LAST_LOOKS_AFTER: Duration = Duration::from_secs(4);
/// Two looks, and less than the broker waits for a queue that is to be deleted.
const SILENT_SECONDS: u8 = 4;
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// A queue that was deleted is there again by then, and RabbitMQ would find it. Version 3.10.8 does not
/// find a queue that was deleted and declared again when it is killed less than two seconds later: it
/// takes no more messages, and those that were confirmed are lost.
const DECLARED: Duration = Duration::from_secs(5);
/// Who books right after a queue was deleted. Their wishes are not the crowd's: a key is used once.
const BOOKERS: usize = 6;

/// The operators, and the buyers they try their work with.
pub struct Office<'a> {
    pub http: &'a reqwest::Client,
    pub fleet: &'a Fleet,
    pub pool: &'a Pool,
    pub halls: &'a [Hall],
    /// Of an administrator.
    pub token: String,
    /// Buyers of the show that nobody else books.
    pub buyers: Vec<Ticket>,
    pub pen: Pen,
    pub until: Instant,
    pub seed: u64,
    pub visits: tokio::sync::Mutex<Vec<Visit>>,
    /// Partitions whose queue was deleted with bookings in it.
    pub emptied: std::sync::Mutex<Vec<Partition>>,
    /// Held while a queue that was deleted is declared again: no broker is killed meanwhile.
    pub declaring: tokio::sync::Mutex<()>,
}

impl Office<'_> {
    /// The queue of the `n`th partition of the run.
    pub fn queue(&self, n: usize) -> anyhow::Result<String> {
        let queues: Vec<String> =
            self.halls.iter().flat_map(Hall::partitions).map(|p| p.queue()).collect();
        queues.get(n % queues.len().max(1)).cloned().context("a run has partitions")
    }

    /// Ends the sale that ends early. Where `slow`: bookings are accepted and their batches wait,
    /// and the queue says nothing while it is looked at for the last time.
    pub async fn close(&self, arena: &Arena, slow: bool) -> anyhow::Result<()> {
        let hall = self.hall(Purpose::EndsEarly)?;
        if !slow {
            return self.end_sale(hall).await;
        }
        let mut session = hold_up(arena, hall).await?;
        sleep(GATHERS).await;
        self.end_sale(hall).await?;
        sleep(LAST_LOOKS_AFTER).await;
        let queue = hall.partitions().next().context("it has a partition")?.queue();
        let suspended = arena.suspend(&queue, SILENT_SECONDS).await;
        // Its session may have been ended meanwhile, and the lock with it.
        let _ = sqlx::query("rollback").execute(&mut session).await;
        suspended
    }

    /// Deletes the queue that nobody else books from, once everything accepted for it is decided;
    /// then bookings come, and none of them is lost.
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
        let queue = hall.partitions().next().context("it has a partition")?.queue();
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

    /// Deletes the fullest queue while batches wait: what is in it is lost, and must be missed.
    pub async fn unqueue_full(&self, arena: &Arena) -> anyhow::Result<()> {
        let hall = self.halls.first().context("a run has a show")?;
        let partition = hall.partitions().next().context("it has a partition")?;
        let mut session = hold_up(arena, hall).await?;
        // Whoever consumes it has some in hand and decides them: those are not lost.
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
            let call = Call::new(Role::Ingress, Method::POST, &path).body(json!({}));
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

/// A session that has the partitions of a show and does nothing with them: batches wait for it.
async fn hold_up(arena: &Arena, hall: &Hall) -> anyhow::Result<PgConnection> {
    let mut session = PgConnection::connect(arena.postgres_url()?).await?;
    for set in ["set idle_in_transaction_session_timeout = 0", "set lock_timeout = '3s'", "begin"] {
        sqlx::query(set).execute(&mut session).await?;
    }
    let take = "select from partitions where show_id = $1 order by tier for update";
    sqlx::query(take).bind(hall.show.0).execute(&mut session).await?;
    Ok(session)
}
