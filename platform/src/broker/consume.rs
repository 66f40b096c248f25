//! Consuming: a consumer for batches, and a loop that takes one delivery at a time.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Acker, Channel,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
    },
    types::{AMQPValue, FieldTable},
};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Broker, Link};
use crate::Shutdown;

const ACK_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for the broker to declare what a consumer needs.
const PREPARE_WAIT: Duration = Duration::from_secs(10);
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// The error of a session that was cancelled before it had begun.
const GIVEN_UP: &str = "the session was given up before it was opened";

/// The broker gave no consumer of a queue. If the queue's process has not come back, RabbitMQ also
/// ends the connection, at once or after a timeout of its own.
#[derive(Debug, Error)]
#[error("the broker gave no consumer of {queue}: {why}")]
pub struct NoConsumer {
    queue: String,
    why: String,
}

/// A consumer of one queue, on one channel of one connection. When any of the three is lost, the
/// consumer is over, and another consumer gets its unacked deliveries.
pub struct Consumer {
    link: Arc<Link>,
    channel: Channel,
    deliveries: lapin::Consumer,
    /// Whether the consumer has ended. The broker reports the end only once.
    is_over: bool,
}

impl Consumer {
    /// Starts consuming with a bounded number of unacked deliveries. The error is [`NoConsumer`] if
    /// the broker gave none.
    pub async fn open(link: Arc<Link>, queue: &str, prefetch: u16) -> anyhow::Result<Self> {
        Self::open_unless(link, queue, prefetch, &CancellationToken::new()).await
    }

    /// Like [`Self::open`], but gives up when `stop` is cancelled, and then leaves no consumer
    /// behind.
    pub async fn open_unless(
        link: Arc<Link>,
        queue: &str,
        prefetch: u16,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        assert!(prefetch > 0, "a prefetch of 0 means no limit");
        let channel = stop.run_until_cancelled(link.channel()).await.context(GIVEN_UP)??;
        let opening = async {
            channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
            let options = BasicConsumeOptions {
                no_local: false,
                no_ack: false,
                exclusive: false,
                nowait: false,
            };
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await
        };
        let opened = stop.run_until_cancelled(tokio::time::timeout(ACK_WAIT, opening)).await;
        let why = match opened {
            Some(Ok(Ok(deliveries))) => {
                return Ok(Self { link, channel, deliveries, is_over: false });
            }
            Some(Ok(Err(error))) => Some(error.to_string()),
            Some(Err(_)) => Some(format!("no answer within {ACK_WAIT:?}")),
            None => None,
        };
        // Close the channel: a late consume-ok would make a consumer that nobody reads and that
        // might be the active one.
        let closing = channel.close(200, "not opened in time".into());
        let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
        let why = why.context(GIVEN_UP)?;
        Err(NoConsumer { queue: queue.to_owned(), why }.into())
    }

    /// The next delivery; `None` when the consumer is over.
    pub async fn next(&mut self) -> Option<Delivery> {
        if self.is_over {
            return None;
        }
        let next = tokio::select! {
            () = self.link.died() => None,
            next = self.deliveries.next() => next,
        };
        self.delivery(next)
    }

    /// A delivery that is already here, without waiting.
    pub fn next_now(&mut self) -> Option<Delivery> {
        if self.is_over {
            return None;
        }
        let next = self.deliveries.next().now_or_never()?;
        self.delivery(next)
    }

    fn delivery(&mut self, next: Option<lapin::Result<Delivery>>) -> Option<Delivery> {
        match next {
            Some(Ok(delivery)) => return Some(delivery),
            Some(Err(error)) => debug!("a consumer ended: {error}"),
            None => {}
        }
        self.is_over = true;
        None
    }

    /// Whether the consumer is alive. A dead one may hold deliveries that the broker has given to
    /// another consumer.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.link.is_dead() && self.channel.status().connected()
    }

    /// Ends the consumer; unacked deliveries go back to the queue.
    pub async fn close(self) {
        let closing = self.channel.close(200, "session over".into());
        let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
    }
}

/// Acks a delivery and all before it on its channel. `false` means the consumer is over.
pub async fn ack_all(last: &Delivery) -> bool {
    let acking = last.acker.ack(BasicAckOptions { multiple: true });
    matches!(tokio::time::timeout(ACK_WAIT, acking).await, Ok(Ok(true)))
}

/// How often a delivery of a quorum queue has come back before.
#[must_use]
pub fn times_returned(delivery: &Delivery) -> i64 {
    let headers = delivery.properties.headers().as_ref();
    // The first delivery has no such header in RabbitMQ 3.10 to 4.x.
    let count = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
    count.and_then(AMQPValue::as_long_long_int).unwrap_or(0)
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumption {
    /// Done: the message goes.
    Ack,
    /// Not now: the message comes back.
    Retry,
    /// Never: the message goes to its queue's dead-letter exchange, or is dropped if there is none.
    Park,
}

/// Tells the broker what becomes of one delivery. `false` means the consumer is over.
pub async fn settle(acker: &Acker, consumption: Consumption) -> bool {
    let settling = async {
        match consumption {
            Consumption::Ack => acker.ack(BasicAckOptions { multiple: false }).await,
            Consumption::Retry => {
                acker.nack(BasicNackOptions { multiple: false, requeue: true }).await
            }
            Consumption::Park => acker.reject(BasicRejectOptions { requeue: false }).await,
        }
    };
    matches!(tokio::time::timeout(ACK_WAIT, settling).await, Ok(Ok(true)))
}

impl Broker {
    /// Consumes a queue one message at a time until the shutdown begins, across lost
    /// connections. `prepare` runs before each consumer and names the queue.
    pub async fn consume<P, PFut, H, HFut>(
        self,
        prefetch: u16,
        shutdown: Shutdown,
        prepare: P,
        handle: H,
    ) where
        P: Fn(Channel) -> PFut,
        PFut: Future<Output = anyhow::Result<String>>,
        H: Fn(Delivery) -> HFut,
        HFut: Future<Output = Consumption>,
    {
        self.consume_told(prefetch, shutdown, prepare, handle, |_| ()).await;
    }

    /// Like [`Self::consume`], and calls `told` with `true` when a consumer has begun and with
    /// `false` when it is over.
    pub(super) async fn consume_told<P, PFut, H, HFut>(
        mut self,
        prefetch: u16,
        shutdown: Shutdown,
        prepare: P,
        handle: H,
        told: impl Fn(bool),
    ) where
        P: Fn(Channel) -> PFut,
        PFut: Future<Output = anyhow::Result<String>>,
        H: Fn(Delivery) -> HFut,
        HFut: Future<Output = Consumption>,
    {
        while !shutdown.has_begun() {
            let link = tokio::select! {
                () = shutdown.begun() => return,
                link = self.link_soon() => match link { Some(link) => link, None => return },
            };
            let opened = async {
                let preparing = async { prepare(link.channel().await?).await };
                let queue = tokio::time::timeout(PREPARE_WAIT, preparing).await??;
                Consumer::open(Arc::clone(&link), &queue, prefetch).await
            };
            match opened.await {
                Ok(consumer) => {
                    told(true);
                    take_all(consumer, &shutdown, &handle).await;
                    told(false);
                }
                Err(error) => warn!("cannot consume, trying again: {error:#}"),
            }
            if !shutdown.sleep(RETRY_WAIT).await {
                return;
            }
        }
    }
}

async fn take_all<H, HFut>(mut consumer: Consumer, shutdown: &Shutdown, handle: &H)
where
    H: Fn(Delivery) -> HFut,
    HFut: Future<Output = Consumption>,
{
    loop {
        let delivery = tokio::select! {
            () = shutdown.begun() => break,
            delivery = consumer.next() => match delivery { Some(delivery) => delivery, None => break },
        };
        let acker = delivery.acker.clone();
        let consumption = handle(delivery).await;
        if !settle(&acker, consumption).await {
            break;
        }
        if consumption == Consumption::Retry {
            shutdown.sleep(RETRY_WAIT).await;
        }
    }
    consumer.close().await;
}
