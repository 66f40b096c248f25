//! A stampede: thousands of waiting visitors in one process.
//!
//! A system that allows a process only so many open files needs several of them, so a stampede is
//! driven from outside: [`Order`]s come in, one JSON object a line, [`News`] goes out the same way.
//! The [`herd`] carries the orders out; each [`watcher`] is a real visitor, with a join, a socket,
//! a place that it may give up and a connection that it may lose. A [`trail`] is what stood on a
//! visitor's screen, for whoever knows the truth.

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
