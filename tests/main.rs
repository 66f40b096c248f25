//! Tests of the whole pipeline with real services, through the public API.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::similar_names, reason = "hold and held are the domain's words")]

mod harness;
mod beside;
mod witness;
mod forge;
mod tokens;
mod mails;
mod journey;
mod bookings;
mod locks;
mod ledger;
mod events;
mod poison;
mod elsewhere;
mod queues;
mod one_queue;
mod closed;
mod installation;
mod bad_input;
mod abuse;
mod limits;
mod openapi;
mod fuzzed;
mod compose;
mod metrics;
mod links;
mod life;
mod load;
mod alone;
mod outages;
mod under_fire;
mod unseen;
mod scripts;
mod tour;
mod seats;
mod wheelchairs;
mod stock;
mod turns;
mod keys;
mod waiters;
