//! Settings of the notifier.

use std::net::SocketAddr;

use clap::Args;
use platform::config::{Backends, Http, Listen};

/// Settings of the notifier.
#[derive(Args, Clone)]
#[command(about = "Tells people what became of their bookings")]
pub struct Config {
    /// Address the notifier listens on.
    #[arg(long, env = "USHER_NOTIFIER_LISTEN", default_value = "127.0.0.1:8084")]
    pub listen: SocketAddr,
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
