//! Publishing with confirms.

use std::{sync::Arc, time::Duration};

use contract::deadline::CONFIRM_WAIT;
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

/// A broker that is there opens a channel in milliseconds.
const CHANNEL_WAIT: Duration = CONFIRM_WAIT;
const CLOSE_WAIT: Duration = Duration::from_millis(100);

const RULES: Rules = Rules {
    dependency: "rabbitmq",
    // A publish has two seconds to be confirmed; one that is not, while no other is, is enough.
    failures_max: 1,
    call_wait: CHANNEL_WAIT.saturating_add(CONFIRM_WAIT),
};

/// How a publish can fail.
#[derive(Clone, Debug, Error)]
pub enum PublishError {
    /// The broker has not stored it.
    #[error("the broker did not take the message: {0}")]
    Refused(&'static str),
    /// It may or may not have been stored; publishing it again is the only way to be sure.
    #[error("the broker did not say whether it took the message: {0}")]
    Unknown(&'static str),
}

/// Publishes persistent messages and waits for the broker's word on each. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    breaker: Breaker,
    open: Arc<Mutex<Option<Open>>>,
}

#[derive(Clone)]
struct Open {
    link: Arc<Link>,
    channel: Channel,
}

impl Publisher {
    /// A publisher on this connection. Consumers need another one: the broker may block this.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self { broker, breaker: Breaker::new(RULES), open: Arc::default() }
    }

    /// Publishes one message. Returns when it is stored on a majority of its queue's nodes; refuses
    /// at once while the broker is away, blocked, or has left the last publish without a word.
    ///
    /// Must not be dropped half way where the outcome matters: run it in a task of its own.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
    ) -> Result<(), PublishError> {
        let (open, began) = self.enter().await?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        // Not mandatory: lapin attaches returns to the wrong confirm. The alternate exchange
        // catches what cannot be routed.
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
                self.breaker.answered();
                Ok(())
            }
            Ok(Ok(Confirmation::Nack(_))) => {
                self.breaker.answered();
                Err(PublishError::Refused("its queue is full or not available"))
            }
            Ok(Ok(Confirmation::NotRequested)) => {
                Err(self.give_up(&open, "the channel is not in confirm mode").await)
            }
            Ok(Err(_)) => Err(self.give_up(&open, "the channel or connection was lost").await),
            Err(_) => {
                self.breaker.failed(began);
                Err(self.give_up(&open, "no confirm in time").await)
            }
        }
    }

    /// Whether messages can be published, for `/readyz`. An open breaker is given a try here, so
    /// that a node nobody sends requests to finds out that the broker is back.
    pub async fn check(&self) -> Result<(), String> {
        self.broker.check()?;
        if self.breaker.is_closed() {
            return Ok(());
        }
        match self.enter().await {
            Ok(_) => {
                self.breaker.answered();
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// A channel to publish on, and when this began. Nothing has been sent where there is none.
    async fn enter(&self) -> Result<(Open, Instant), PublishError> {
        let link = self.broker.link().ok_or(PublishError::Refused("it cannot be reached"))?;
        if link.is_blocked() {
            return Err(PublishError::Refused("it is short of memory or disk"));
        }
        let away = PublishError::Refused("it does not answer; it is tried again in a moment");
        let began = self.breaker.enter().map_err(|_| away)?;
        // Of many that want a channel one opens it; all of them wait this long at most.
        let Ok(opened) = timeout(CHANNEL_WAIT, self.channel_on(link)).await else {
            self.breaker.failed(began);
            return Err(PublishError::Refused("it opens no channel"));
        };
        let open = opened.map_err(|_| PublishError::Refused("it opens no channel"))?;
        Ok((open, Instant::now()))
    }

    async fn channel_on(&self, link: Arc<Link>) -> anyhow::Result<Open> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref()
            && Arc::ptr_eq(&open.link, &link)
            && open.channel.status().connected()
        {
            return Ok(open.clone());
        }
        let channel = link.channel().await?;
        channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        let made = Open { link, channel };
        *open = Some(made.clone());
        Ok(made)
    }

    /// A channel on which a confirm went missing may never enqueue again: it is replaced.
    async fn give_up(&self, broken: &Open, why: &'static str) -> PublishError {
        let mut open = self.open.lock().await;
        let is_open = |open: &Open| {
            Arc::ptr_eq(&open.link, &broken.link) && open.channel.id() == broken.channel.id()
        };
        if open.as_ref().is_some_and(is_open) {
            warn!("a publisher's channel is replaced: {why}");
            metrics::counter!("usher_publish_channel_replaced_total").increment(1);
            *open = None;
            drop(open);
            let _ = timeout(CLOSE_WAIT, broken.channel.close(200, "replaced".into())).await;
        }
        PublishError::Unknown(why)
    }
}
