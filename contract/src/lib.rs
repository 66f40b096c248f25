//! What the services say to each other and to clients. No IO; the clock is read only for the time
//! in new ids.
//!
//! A booking on one screen: a visitor joins the [`line`](api::line), is admitted with a
//! [`pass`], submits a [`booking`] that travels as a [`message`] through the [`topology`],
//! and is told the outcome as an event.

mod id;
mod seat;
mod money;
pub mod booking;
pub mod message;
pub mod topology;
pub mod deadline;
pub mod keys;
pub mod access;
pub mod refresh;
pub mod second_factor;
pub mod api_key;
pub mod pass;
pub mod place_ticket;
pub mod booking_id;
pub mod mail;
pub mod api;
#[cfg(test)]
mod arbitrary;

pub use id::{
    AccountId, ApiKeyId, BookingId, EventId, MailId, MovieId, OrderId, ProducerId, ScreenId,
    SessionId, ShowId, TheatreId, TicketId,
};
pub use money::Money;
pub use seat::{SeatLabel, TierCode};
