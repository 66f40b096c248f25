//! The whole pipeline, on real services, through its public API.

mod harness;
mod journey;
mod bookings;
mod bad_input;
mod compose;
mod alone;
