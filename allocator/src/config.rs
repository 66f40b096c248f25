//! Settings of the allocator.

use std::net::SocketAddr;

use clap::Args;
use platform::config::{Backends, Http, Listen};

/// Settings of the allocator.
#[derive(Args, Clone)]
#[command(about = "Decides bookings: one consumer per show and tier")]
pub struct Config {
    /// Address on which the allocator answers health and readiness.
    #[arg(long, env = "USHER_ALLOCATOR_LISTEN", default_value = "127.0.0.1:8083")]
    pub listen: SocketAddr,
    /// Most bookings decided in one transaction.
    #[arg(long, env = "USHER_BATCH_BOOKINGS_MAX", default_value_t = 512)]
    pub batch_bookings_max: usize,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub http: Http,
}

impl Listen for Config {
    fn listen(&self) -> (SocketAddr, &Http) {
        (self.listen, &self.http)
    }
}
