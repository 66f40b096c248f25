//! The waiting room against real backends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod socket;
mod joining;
mod order;
mod draw;
mod modes;
mod admission;
mod stock;
mod passes;
mod cap;
mod sockets;
mod recovery;
mod presence;
mod slow;
mod crowd;
mod foreign;
mod bucket;
mod unproven;
mod own_redis;
mod older;
mod clocks;
mod able;
mod secrets;
mod returns;
mod apart;
mod lifetime;
