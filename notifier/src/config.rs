//! Settings of the notifier.

use std::net::SocketAddr;

use clap::Args;
use platform::config::{Backends, Http, Listen, Mail};

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
    #[command(flatten)]
    pub mail: Mail,
    /// The SMTP server that takes the mails, such as
    /// `smtp://user:password@mail.example.org:587?tls=required` or `smtps://…`.
    #[arg(long, env = "USHER_SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Where people find the pages, for links in mails.
    #[arg(long, env = "USHER_PUBLIC_URL", default_value = "http://127.0.0.1:8080")]
    pub public_url: String,
}

impl Listen for Config {
    fn listen(&self) -> (SocketAddr, &Http) {
        (self.listen, &self.http)
    }
}
