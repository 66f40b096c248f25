//! A witness beside the allocator: it gets a copy of every message for a show.

use contract::{
    ShowId,
    topology::{PARKED, REQUESTS},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
        QueuePurgeOptions,
    },
    types::FieldTable,
};

use crate::harness::System;

/// A queue of its own for the requests of a show's tier STANDARD; it can also publish any bytes
/// there.
pub(crate) struct Witness {
    channel: Channel,
    queue: String,
    routing_key: String,
    connection: Connection,
}

impl Witness {
    /// Makes the queue, which gets every message from now on.
    pub(crate) async fn of(system: &System, show: ShowId) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&system.slot.amqp_url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue =
            channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
        let queue = queue.name().as_str().to_owned();
        let routing_key = format!("{show}.STANDARD");
        let (name, key) = (queue.as_str().into(), routing_key.as_str().into());
        let options = QueueBindOptions::default();
        channel
            .queue_bind(name, REQUESTS.into(), key, options, FieldTable::default())
            .await
            .unwrap();
        Self { channel, queue, routing_key, connection }
    }

    /// How many messages came, including all answered with 202, since a confirm waits for every
    /// queue.
    pub(crate) async fn heard(&self) -> u32 {
        let look = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = self.queue.as_str().into();
        let seen = self.channel.queue_declare(name, look, FieldTable::default()).await.unwrap();
        seen.message_count()
    }

    /// Empties the queue.
    pub(crate) async fn forget(&self) {
        let options = QueuePurgeOptions::default();
        self.channel.queue_purge(self.queue.as_str().into(), options).await.unwrap();
    }

    /// Publishes these bytes as a request of the show, without ingress.
    pub(crate) async fn publish(&self, body: &[u8], headers: FieldTable) {
        self.send(REQUESTS, body, headers).await;
    }

    /// Tries to publish these bytes; returns whether the broker took them.
    pub(crate) async fn try_publish(&self, body: &[u8]) -> bool {
        // On a channel of its own, since the broker closes it if it refuses the message.
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let key = self.routing_key.as_str().into();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let sent = channel.basic_publish(REQUESTS.into(), key, options, body, properties).await;
        match sent {
            Ok(confirm) => confirm.await.is_ok(),
            Err(_) => false,
        }
    }

    /// Publishes these bytes as a message that was delivered too often.
    pub(crate) async fn park(&self, body: &[u8]) {
        self.send(PARKED, body, FieldTable::default()).await;
    }

    async fn send(&self, exchange: &str, body: &[u8], headers: FieldTable) {
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let options = BasicPublishOptions::default();
        let key = self.routing_key.as_str().into();
        let sent = self.channel.basic_publish(exchange.into(), key, options, body, properties);
        sent.await.unwrap().await.expect("the broker takes it");
    }
}
