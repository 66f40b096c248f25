//! Publishing with confirms.
//!
//! RabbitMQ 3.10 handles the messages of a channel one after the other, and the first message of a
//! channel to a quorum queue waits for that queue's leader. While the leader is silent, all later
//! messages of the channel wait, too, whichever queue they go to. So *ways* (a way is a routing
//! key, or the exchange of events) share a few channels, and a way in trouble is tried on a channel
//! of its own.

use std::{
    array,
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use contract::{deadline::CONFIRM_WAIT, topology::EVENTS};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use thiserror::Error;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tracing::warn;

use super::{Broker, Link};
use crate::breaker::{Breaker, Rules};

/// Longest wait for a channel. A healthy broker opens one in milliseconds.
const CHANNEL_WAIT: Duration = CONFIRM_WAIT;
/// Most ways whose breakers are kept. Beyond it, the closed breakers are forgotten, then all.
const WAYS_MAX: usize = 10_000;
/// Channels that ways share.
const LANES: usize = 16;

const RULES: Rules = Rules {
    dependency: "rabbitmq",
    // A publish has two seconds to be confirmed. One that is not, with no other confirm meanwhile,
    // is enough.
    failures_max: 1,
    call_wait: CHANNEL_WAIT.saturating_add(CONFIRM_WAIT),
};

/// How a publish can fail.
#[derive(Clone, Debug, Error)]
pub enum PublishError {
    /// The broker has not stored the message.
    #[error("the broker did not take the message: {0}")]
    Refused(&'static str),
    /// The message may or may not have been stored; only publishing it again makes sure.
    #[error("the broker did not say whether it took the message: {0}")]
    Unknown(&'static str),
}

/// Publishes persistent messages and waits for the broker's confirm of each. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    /// One for each way, because a queue that does not answer says nothing about the others.
    breakers: Arc<std::sync::Mutex<HashMap<String, Breaker>>>,
    lanes: Arc<[Mutex<Option<Open>>; LANES]>,
}

#[derive(Clone)]
struct Open {
    link: Arc<Link>,
    channel: Channel,
}

impl Publisher {
    /// A publisher on this connection. Consumers need another connection, because the broker may
    /// block this one.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        let lanes = Arc::new(array::from_fn(|_| Mutex::default()));
        Self { broker, breakers: Arc::default(), lanes }
    }

    /// Publishes one message. Returns when it is stored on a majority of its queue's nodes; refuses
    /// at once while the broker is away or blocked, or after a publish on the same way was not
    /// confirmed.
    ///
    /// If the outcome matters, the future must not be dropped half way: run it in a task of its
    /// own.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
    ) -> Result<(), PublishError> {
        // An event goes to every node's queue, whatever its key.
        let way = if exchange == EVENTS { exchange } else { routing_key };
        let (breaker, lane) = (self.breaker(way), self.lane(way));
        let (open, began) = self.enter(&breaker, lane).await?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        // Not mandatory: lapin attaches returns to the wrong confirm. The alternate exchange
        // catches messages that cannot be routed.
        let options = BasicPublishOptions { mandatory: false, immediate: false };
        let (exchange, routing_key) = (exchange.into(), routing_key.into());
        let confirmed = async {
            open.channel
                .basic_publish(exchange, routing_key, options, body, properties)
                .await?
                .await
        };
        match timeout(CONFIRM_WAIT, confirmed).await {
            Ok(Ok(Confirmation::Ack(_))) => {
                breaker.answered();
                Ok(())
            }
            Ok(Ok(Confirmation::Nack(_))) => {
                breaker.answered();
                Err(PublishError::Refused("its queue is full or not available"))
            }
            Ok(Ok(Confirmation::NotRequested)) => {
                Err(give_up(lane, &open, "the channel is not in confirm mode").await)
            }
            Ok(Err(_)) => Err(give_up(lane, &open, "the channel or connection was lost").await),
            Err(_) => {
                breaker.failed(began);
                Err(give_up(lane, &open, "no confirm in time").await)
            }
        }
    }

    /// Whether messages can be published, for `/readyz`. If a publish was not confirmed, the broker
    /// must show that it opens a channel.
    pub async fn check(&self) -> Result<(), String> {
        self.broker.check()?;
        let link = self.broker.link().ok_or("no connection")?;
        if self.breakers().values().all(Breaker::is_closed) {
            return Ok(());
        }
        match timeout(CHANNEL_WAIT, Open::on(link)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err("it opens no channel".into()),
        }
    }

    fn breakers(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self, way: &str) -> Breaker {
        let mut breakers = self.breakers();
        if let Some(breaker) = breakers.get(way) {
            return breaker.clone();
        }
        if breakers.len() >= WAYS_MAX {
            breakers.retain(|_, breaker| !breaker.is_closed());
        }
        if breakers.len() >= WAYS_MAX {
            breakers.clear();
        }
        breakers.entry(way.to_owned()).or_insert_with(|| Breaker::new(RULES)).clone()
    }

    fn lane(&self, way: &str) -> &Mutex<Option<Open>> {
        let mut hasher = DefaultHasher::new();
        way.hash(&mut hasher);
        let lanes = LANES as u64;
        &self.lanes[usize::try_from(hasher.finish() % lanes).unwrap_or_default()]
    }

    /// A channel to publish on, and the moment at which it was there. After an error, nothing was
    /// sent.
    async fn enter(
        &self,
        breaker: &Breaker,
        lane: &Mutex<Option<Open>>,
    ) -> Result<(Open, Instant), PublishError> {
        let link = self.broker.link().ok_or(PublishError::Refused("it cannot be reached"))?;
        if link.is_blocked() {
            return Err(PublishError::Refused("it is short of memory or disk"));
        }
        let is_in_trouble = !breaker.is_closed();
        let away = PublishError::Refused("it does not answer; it is tried again in a moment");
        let began = breaker.enter().map_err(|_| away)?;
        let opening =
            async { if is_in_trouble { Open::on(link).await } else { shared(lane, link).await } };
        // If many publishes want a channel, one opens it; each waits this long at most.
        let Ok(opened) = timeout(CHANNEL_WAIT, opening).await else {
            breaker.failed(began);
            return Err(PublishError::Refused("it opens no channel"));
        };
        let open = opened.map_err(|_| PublishError::Refused("it opens no channel"))?;
        Ok((open, Instant::now()))
    }
}

impl Open {
    async fn on(link: Arc<Link>) -> anyhow::Result<Self> {
        let channel = link.channel().await?;
        channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        Ok(Self { link, channel })
    }
}

/// The channel of a lane, opened if there is none.
async fn shared(lane: &Mutex<Option<Open>>, link: Arc<Link>) -> anyhow::Result<Open> {
    let mut open = lane.lock().await;
    if let Some(open) = open.as_ref()
        && Arc::ptr_eq(&open.link, &link)
        && open.channel.status().connected()
    {
        return Ok(open.clone());
    }
    let made = Open::on(link).await?;
    *open = Some(made.clone());
    Ok(made)
}

/// Takes a channel out of its lane after a missing confirm, because it may never enqueue again. The
/// channel closes when the last publish that waits for a confirm on it ends.
async fn give_up(lane: &Mutex<Option<Open>>, broken: &Open, why: &'static str) -> PublishError {
    let mut open = lane.lock().await;
    let is_open = |open: &Open| {
        Arc::ptr_eq(&open.link, &broken.link) && open.channel.id() == broken.channel.id()
    };
    if open.as_ref().is_some_and(is_open) {
        warn!("a publisher's channel is replaced: {why}");
        metrics::counter!("usher_publish_channel_replaced_total").increment(1);
        *open = None;
    }
    PublishError::Unknown(why)
}
