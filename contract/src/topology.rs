//! Exchanges, queues and bindings, as data. `platform::broker` declares them.
//!
//! ```text
//! booking.requests (direct) ── {show}.{tier} ──► booking.{show}.{tier}   one active consumer
//!        │ no such queue                                 │ delivered too often
//!        ▼                                               ▼
//! booking.unrouted ──► booking.unrouted          booking.parked ──► booking.parked
//! booking.events (topic) ── {show}.{tier} ──► one short-lived queue per live node
//! (default) ── channel.email ──► channel.email           every notifier that sends mail
//! ```
//! Built for RabbitMQ 3.10 to 4.x: every argument whose default changed is set.

use crate::{ShowId, TierCode};

/// Where accepted requests are published, with [`Partition::routing_key`].
pub const REQUESTS: &str = "booking.requests";
/// Alternate exchange of [`REQUESTS`], and its queue: requests that found no queue.
pub const UNROUTED: &str = "booking.unrouted";
/// Exchange for dead letters of the request queues, and its queue.
pub const PARKED: &str = "booking.parked";
/// Topic exchange for what happened to bookings.
pub const EVENTS: &str = "booking.events";

/// Quorum queue of the mails that are due, published to the default exchange.
pub const MAILS: &str = "channel.email";

/// Deliveries of one message before it is parked. Explicit, because 3.10 has no limit and 4.x has 20.
pub const DELIVERY_LIMIT: i64 = 20;
/// Ready messages a request queue holds before publishes are refused.
pub const REQUEST_QUEUE_MESSAGES_MAX: i64 = 200_000;
/// Bytes a request queue holds before publishes are refused.
pub const REQUEST_QUEUE_BYTES_MAX: i64 = 512 * 1024 * 1024;
/// Ready events that a live node's queue holds before the oldest are dropped. Nodes also look at
/// the database now and then.
pub const LIVE_QUEUE_MESSAGES_MAX: i64 = 50_000;
/// Ready messages the queue of mails holds before publishes are refused; further mails wait in the
/// database.
pub const MAIL_QUEUE_MESSAGES_MAX: i64 = 10_000;

/// The requests of one tier of one show: one queue, one active consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub show: ShowId,
    pub tier: TierCode,
}

impl Partition {
    /// `{show}.{tier}`.
    #[must_use]
    pub fn routing_key(&self) -> String {
        format!("{}.{}", self.show, self.tier)
    }

    /// `booking.{show}.{tier}`.
    #[must_use]
    pub fn queue(&self) -> String {
        format!("booking.{}.{}", self.show, self.tier)
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.show, self.tier)
    }
}
