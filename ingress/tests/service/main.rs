//! Tests of the ingress service on real backends, from the client's side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod running;
mod readiness;
mod browsers;
mod manners;
mod accounts;
mod sessions;
mod devices;
mod second_factors;
mod api_keys;
mod sign_ins;
mod catalogue;
mod days;
mod search;
mod programme;
mod series;
mod organisers;
mod audit_log;
mod sale;
mod bad_input;
