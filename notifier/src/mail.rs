//! The channel `email`: from the database into the queue, and from the queue to the SMTP server.
//!
//! The database remembers each mail until it is sent or has failed; a message of the queue says only
//! that one is due. So a lost or repeated message is harmless. A process that dies after the server
//! took a mail and before the database knew it sends the mail again, with the same `Message-ID`.

mod letter;
mod post;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use contract::{
    MailId,
    keys::MasterKey,
    mail::{LinkTokens, MailDue, MailKind},
    topology::MAILS,
};
use futures_util::future::join_all;
use platform::{
    Shutdown,
    broker::{Broker, Consumption, Publisher, declare_mails},
};
use store::{
    Pool,
    mails::{self, ClaimedMail},
};
use tokio::time::timeout;
use tracing::warn;

use crate::config::Config;
use letter::Writer;
use post::{NotSent, Post};

/// Mails that one node sends at the same time, each on a connection of its own.
const SENDERS: usize = 4;
/// Mails put into the queue at once.
const DUE_MAX: i64 = 64;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const FAILED_WAIT: Duration = Duration::from_secs(5);
const DECLARE_WAIT: Duration = Duration::from_secs(5);
const COUNT_EVERY: Duration = Duration::from_secs(5);

struct Mails {
    pool: Pool,
    writer: Writer,
    post: Post,
}

/// Starts sending mails, if the settings say so; the tasks belong to the shutdown.
pub(crate) fn start(
    config: &Config,
    pool: &Pool,
    broker: &Broker,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    if !config.mail.is_on() {
        return Ok(());
    }
    let mails = Mails::new(config, &config.backends.master_key, pool.clone())?;
    // Consumers need another connection than publishers, which the broker may block.
    let publishing = Broker::connect(&config.backends.amqp_url, "notifier mails", shutdown)?;
    let relaying = relay(pool.clone(), publishing, shutdown.clone());
    shutdown.spawn_vital("mails due", relaying);
    shutdown.spawn_vital("mails waiting", count(pool.clone(), shutdown.clone()));
    let mails = Arc::new(mails);
    for _ in 0..SENDERS {
        let sending = Arc::clone(&mails).send_all(broker.clone(), shutdown.clone());
        shutdown.spawn_vital("mails", sending);
    }
    Ok(())
}

/// Puts the mails that are due into the queue. While the broker is away, they stay due.
async fn relay(pool: Pool, broker: Broker, shutdown: Shutdown) {
    let publisher = Publisher::new(broker.clone());
    let mut wait = Duration::ZERO;
    while shutdown.sleep(wait).await {
        wait = match relay_some(&pool, &broker, &publisher).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => LOOK_EVERY,
            Err(error) => {
                warn!("mails wait: {error:#}");
                FAILED_WAIT
            }
        };
    }
}

/// Returns whether more may be due.
async fn relay_some(pool: &Pool, broker: &Broker, publisher: &Publisher) -> anyhow::Result<bool> {
    let mut tx = pool.begin().await?;
    let due = mails::take_due(&mut tx, DUE_MAX).await?;
    if due.is_empty() {
        return Ok(false);
    }
    declare(broker).await?;
    let publishing = due.iter().map(|&mail_id| async move {
        let body = serde_json::to_vec(&MailDue { mail_id })?;
        publisher.publish("", MAILS, &body).await?;
        anyhow::Ok(())
    });
    let results = join_all(publishing).await;
    let queued: Vec<MailId> =
        due.iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(mail, _)| *mail).collect();
    mails::mark_queued(&mut tx, &queued).await?;
    tx.commit().await?;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(i64::try_from(due.len()) == Ok(DUE_MAX))
}

/// Makes sure that there is a queue: without one, the broker confirms messages and drops them.
async fn declare(broker: &Broker) -> anyhow::Result<()> {
    let channel = broker.link().context("the broker cannot be reached")?.channel().await?;
    let declared = timeout(DECLARE_WAIT, declare_mails(&channel)).await;
    let _ = timeout(DECLARE_WAIT, channel.close(200, "done".into())).await;
    Ok(declared??)
}

/// Measures how many mails wait.
async fn count(pool: Pool, shutdown: Shutdown) {
    while shutdown.sleep(COUNT_EVERY).await {
        if let Ok((waiting, age)) = mails::waiting(&pool).await {
            metrics::gauge!("usher_mails_waiting").set(platform::number::float(waiting));
            metrics::gauge!("usher_mails_oldest_seconds").set(age.as_secs_f64());
        }
    }
}

impl Mails {
    fn new(config: &Config, key: &MasterKey, pool: Pool) -> anyhow::Result<Self> {
        let from = config.mail.mail_from.parse();
        let from = from.context("USHER_MAIL_FROM is not like `Usher <tickets@example.org>`")?;
        let url = config.smtp_url.as_deref().filter(|url| !url.is_empty());
        let url = url.context("USHER_MAIL_FROM is set, and USHER_SMTP_URL must be, too")?;
        let public_url = config.public_url.trim_end_matches('/').to_owned();
        let writer = Writer { from, public_url, links: LinkTokens::new(key) };
        Ok(Self { pool, writer, post: Post::new(url)? })
    }

    /// Sends one mail after the other until the shutdown begins.
    async fn send_all(self: Arc<Self>, broker: Broker, shutdown: Shutdown) {
        let prepare = |channel| async move {
            declare_mails(&channel).await?;
            Ok(MAILS.to_owned())
        };
        let handle = |delivery: platform::broker::Delivery| {
            let mails = Arc::clone(&self);
            async move { mails.take(&delivery.data).await }
        };
        broker.consume(1, shutdown, prepare, handle).await;
    }

    /// Handles a message of the queue. It is never needed again, unless the database is away: what
    /// waits becomes due again by itself.
    async fn take(&self, body: &[u8]) -> Consumption {
        let Ok(MailDue { mail_id }) = serde_json::from_slice(body) else {
            warn!("a message of the queue of mails cannot be read; it is dropped");
            return Consumption::Ack;
        };
        let done = async {
            let Some(mail) = mails::claim(&self.pool, mail_id).await? else { return Ok(()) };
            self.send(&mail).await
        };
        match done.await {
            Ok(()) => Consumption::Ack,
            Err(error) => {
                let error: store::StoreError = error;
                warn!(%mail_id, "a mail waits: {:#}", anyhow::Error::from(error));
                Consumption::Retry
            }
        }
    }

    async fn send(&self, mail: &ClaimedMail) -> store::StoreResult<()> {
        if mail.is_over {
            return self.fail(mail, "too-old", "it is too old, or was tried too often").await;
        }
        let Some(kind) = MailKind::of(&mail.kind) else {
            // A node of a later version sends it.
            return mails::put_off(&self.pool, mail).await;
        };
        let letter = match self.writer.write(mail, kind) {
            Ok(letter) => letter,
            Err(error) => return self.fail(mail, "unwritable", &format!("{error:#}")).await,
        };
        match self.post.send(letter).await {
            Ok(()) => {
                mails::end(&self.pool, mail.id, None).await?;
                metrics::counter!("usher_mails_sent_total", "kind" => kind.as_str()).increment(1);
                Ok(())
            }
            Err(NotSent::Later(why)) => {
                warn!(mail_id = %mail.id, attempts = mail.attempts, why, "a mail is put off");
                metrics::counter!("usher_mails_put_off_total", "why" => why).increment(1);
                mails::put_off(&self.pool, mail).await
            }
            Err(NotSent::Never(answer)) => self.fail(mail, "refused", &answer).await,
        }
    }

    /// Parks a mail: it stays in the database as failed. The log does not name its recipient.
    async fn fail(
        &self,
        mail: &ClaimedMail,
        why: &'static str,
        reason: &str,
    ) -> store::StoreResult<()> {
        warn!(mail_id = %mail.id, kind = mail.kind, "a mail will never be sent: {reason}");
        metrics::counter!("usher_mails_failed_total", "why" => why).increment(1);
        mails::end(&self.pool, mail.id, Some(reason)).await
    }
}
