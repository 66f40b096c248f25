//! How any service starts, is configured, logs, measures, talks to the broker, and stops.
//! Knows nothing of seats or lines.

pub mod config;
pub mod telemetry;
pub mod metrics;
pub mod shutdown;
mod run;
pub mod service;
pub mod clock;
pub mod number;
pub mod http;
pub mod proxy;
pub mod origin;
pub mod breaker;
pub mod broker;
pub mod cache;
pub mod faults;

pub use http::access;
pub use run::{bind, command, main, run};
pub use service::Service;
pub use shutdown::Shutdown;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
