//! A stampede: thousands of waiting visitors in one process.
//!
//! The limit of open files per process makes several stampedes necessary, so each is driven from
//! outside: [`Order`]s come in, one JSON object per line, and [`News`] goes out the same way. The
//! [`herd`] carries the orders out. Each [`watcher`] is a visitor that joins and opens a socket,
//! and may leave or lose its connection. A [`trail`] records the numbers on a visitor's screen,
//! which the bench compares with the truth.

mod wire;
mod herd;
mod watcher;
mod trail;
mod counts;
mod clock;

pub use counts::Counts;
pub use herd::run;
pub use trail::{Sitting, Trail};
pub use wire::{Joined, News, Order, Sample, Stir};
