//! How any service starts, is configured, logs, measures, talks to the broker, and stops.
//! Knows nothing of seats or lines.

pub mod config;
pub mod telemetry;
pub mod shutdown;
pub mod service;
pub mod clock;
pub mod http;
pub mod access;
pub mod breaker;
pub mod broker;
pub mod cache;
pub mod faults;

pub use service::{Service, run};
pub use shutdown::Shutdown;
