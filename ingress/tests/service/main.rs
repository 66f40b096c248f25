//! The ingress service on real backends, as clients see it.

mod running;
mod accounts;
mod catalogue;
mod sale;
mod bad_input;
