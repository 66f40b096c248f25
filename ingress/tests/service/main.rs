//! The ingress service on real backends, as clients see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod running;
mod readiness;
mod accounts;
mod sessions;
mod sign_ins;
mod catalogue;
mod sale;
mod bad_input;
