//! Publishing with confirms.

use std::sync::Arc;

use contract::deadline::CONFIRM_WAIT;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use thiserror::Error;
use tokio::sync::Mutex;
use tracing::warn;

use super::{Broker, Link};

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
        Self { broker, open: Arc::default() }
    }

    /// Publishes one message. Returns when it is stored on a majority of its queue's nodes.
    ///
    /// Must not be dropped half way where the outcome matters: run it in a task of its own.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
    ) -> Result<(), PublishError> {
        let open = self.open().await?;
        if open.link.is_blocked() {
            return Err(PublishError::Refused("it is short of memory or disk"));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        // Not mandatory: lapin attaches returns to the wrong confirm. The alternate exchange
        // catches what cannot be routed.
        let options = BasicPublishOptions { mandatory: false, immediate: false };
        let sent = open
            .channel
            .basic_publish(exchange.into(), routing_key.into(), options, body, properties)
            .await;
        let Ok(confirm) = sent else {
            return Err(self.give_up(&open, "the channel was lost").await);
        };
        match tokio::time::timeout(CONFIRM_WAIT, confirm).await {
            Ok(Ok(Confirmation::Ack(_))) => Ok(()),
            Ok(Ok(Confirmation::Nack(_))) => {
                Err(PublishError::Refused("its queue is full or not available"))
            }
            Ok(Ok(Confirmation::NotRequested)) => {
                Err(self.give_up(&open, "the channel is not in confirm mode").await)
            }
            Ok(Err(_)) => Err(self.give_up(&open, "the connection was lost").await),
            Err(_) => Err(self.give_up(&open, "no confirm in time").await),
        }
    }

    async fn open(&self) -> Result<Open, PublishError> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref()
            && !open.link.is_dead()
            && open.channel.status().connected()
        {
            return Ok(open.clone());
        }
        let link = self.broker.link().ok_or(PublishError::Refused("it cannot be reached"))?;
        let refused = |_| PublishError::Refused("it opens no channel");
        let channel = link.channel().await.map_err(refused)?;
        let select = channel.confirm_select(ConfirmSelectOptions { nowait: false });
        let selected = tokio::time::timeout(CONFIRM_WAIT, select).await;
        if !matches!(selected, Ok(Ok(()))) {
            return Err(PublishError::Refused("it opens no channel"));
        }
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
            let channel = broken.channel.clone();
            *open = None;
            let closing = async move { channel.close(200, "replaced".into()).await };
            let _ = tokio::time::timeout(std::time::Duration::from_millis(100), closing).await;
        }
        PublishError::Unknown(why)
    }
}
