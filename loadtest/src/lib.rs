//! Load from the client side: visitors that use only the public API.
//!
//! Each [`visitor`] follows a [`plan`] drawn from a seed: through the [`line`](mod@line), to the
//! [`seats`], to an [`outcome`] and a ticket. The [`crowd`] sends them, the [`tally`] measures
//! them, with their [`times`], the [`journal`] keeps what they were promised, and the [`report`]
//! sums up and draws a picture. A large crowd is [`spread`] over several processes. A [`stampede`]
//! is also one of several processes, each with thousands of visitors that only wait.

pub mod client;
pub mod calls;
pub mod socket;
pub mod plan;
pub mod line;
pub mod seats;
pub mod outcome;
pub mod visitor;
pub mod crowd;
pub mod stampede;
pub mod times;
pub mod tally;
pub mod journal;
pub mod report;
mod picture;
pub mod progress;
pub mod spread;

pub use calls::BookAnswer;
pub use client::{CallError, Client, fresh_key};
pub use crowd::Crowd;
pub use journal::Journal;
pub use report::Report;
pub use spread::Spread;
pub use tally::Tally;
