//! RabbitMQ: connections that come back, publishes with a known or an unknown result, consumers.
//!
//! lapin's own recovery is not used: a lost connection ends every session on it, and the session's
//! owner starts a new one. Acks go through the delivery's own acker, never by raw tags.

mod link;
mod connections;
mod publish;
mod queue;
mod consume;
mod events;
mod topology;

pub use connections::{Connections, ConsumerSlot};
pub use consume::{Consumer, Consumption, NoConsumer, ack_all, settle, times_returned};
pub use events::hear;
pub use lapin::message::Delivery;
pub use link::{Broker, Link};
pub use publish::{PublishError, Publisher};
pub use queue::put_into_queue;
pub use topology::{
    bind_requests, declare_base, declare_live_queue, declare_mails, declare_requests,
    delete_requests, is_foreign, is_not_found, look_at, unbind_requests,
};
