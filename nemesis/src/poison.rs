//! Bookings that the database cannot store: their keys have a zero byte, which PostgreSQL's text
//! cannot hold. Ingress never sends them, but another program with access to the queue could.

use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use contract::{
    AccountId, BookingId,
    booking::{Kind, Wish},
    booking_id::{BookingIds, RequestIdentity},
    keys::MasterKey,
    message::{BookingRequested, Envelope},
    topology::{Partition, REQUESTS},
};
use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
use platform::clock;

use crate::{arena::Arena, sale::Hall};

/// Puts such bookings on the queues of a run, and remembers their ids.
pub struct Poison<'a> {
    pub master: &'a MasterKey,
    pub halls: &'a [Hall],
    pub account: AccountId,
    pub put: Mutex<Vec<BookingId>>,
}

impl Poison<'_> {
    /// Publishes one to the `n`th partition of the run.
    pub async fn put(&self, arena: &Arena, n: usize) -> anyhow::Result<()> {
        let all: Vec<(&Hall, &str)> = self
            .halls
            .iter()
            .flat_map(|hall| hall.tiers.iter().map(move |tier| (hall, tier.tier)))
            .collect();
        let (hall, tier) = *all.get(n % all.len()).context("the run has no partition")?;
        let partition = Partition { show: hall.show, tier: tier.parse()? };
        let (kind, wish, key) =
            (Kind::Order, Wish::BestAvailable(1), format!("zero\u{0}{}", fastrand::u64(..)));
        let id = BookingIds::new(self.master).derive(&RequestIdentity {
            account: self.account,
            show: hall.show,
            tier: &partition.tier,
            kind,
            wish: &wish,
            key: &key,
        });
        let request = BookingRequested {
            booking_id: id,
            account_id: self.account,
            kind,
            wish,
            idempotency_key: Some(key),
            ticket_id: None,
            deadline: clock::now() + contract::deadline::BOOKING_DEADLINE,
            traceparent: None,
            attempt: 0,
            number: None,
        };
        let envelope = Envelope::new(&partition, vec![request]);
        let url = *arena.amqp_urls()?.first().context("there is no broker")?;
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let confirms = lapin::options::ConfirmSelectOptions { nowait: false };
        channel.confirm_select(confirms).await?;
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: false, immediate: false };
        let key = partition.routing_key();
        let body = envelope.encode();
        let confirmed = channel
            .basic_publish(REQUESTS.into(), key.as_str().into(), options, &body, persistent)
            .await?
            .await?;
        if matches!(confirmed, lapin::Confirmation::Ack(_)) {
            self.put.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
        connection.close(200, "poisoned".into()).await?;
        Ok(())
    }

    /// The ids published so far.
    pub fn ids(&self) -> Vec<BookingId> {
        self.put.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
