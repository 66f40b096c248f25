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

use std::time::{SystemTime, UNIX_EPOCH};

pub use counts::Counts;
pub use herd::run;
pub use trail::{Sitting, Trail};
pub use wire::{Joined, News, Order, Sample, Stir};

/// Milliseconds since 1970 by this machine's clock, to compare with a Redis on the same machine.
#[expect(clippy::disallowed_methods, reason = "visitors know nothing of the platform's clock")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
