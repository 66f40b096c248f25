//! Settings every service has. Each service adds its own; all are environment variables.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use clap::Args;
use contract::keys::MasterKey;

use crate::{origin::Origins, proxy::TrustedProxy};

/// Where the backends are, and the installation's master key.
#[derive(Args, Clone)]
pub struct Backends {
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// A read replica for the catalogue; without it the primary is read.
    #[arg(long, env = "DATABASE_REPLICA_URL", hide_env_values = true)]
    pub database_replica_url: Option<String>,
    /// Redis, such as `redis://127.0.0.1:6379/0`.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: String,
    /// RabbitMQ with its virtual host, such as `amqp://usher:secret@127.0.0.1:5672/usher`.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: String,
    /// 32 random bytes in base64 (`openssl rand -base64 32`). Signs tokens and seals keys.
    #[arg(long, env = "USHER_MASTER_KEY", hide_env_values = true, value_parser = parse_master_key)]
    pub master_key: MasterKey,
    /// Most connections each service opens to PostgreSQL; ingress and an allocator
    /// open six more, a waiting room ten.
    #[arg(long, env = "USHER_DATABASE_CONNECTIONS_MAX", default_value_t = 16)]
    pub database_connections_max: u32,
}

fn parse_master_key(text: &str) -> Result<MasterKey, String> {
    MasterKey::parse(text).map_err(|error| error.to_string())
}

/// Whether this installation sends mail.
#[derive(Args, Clone, Debug)]
pub struct Mail {
    /// The sender of all mails, such as `Usher <tickets@example.org>`; without it, no mail is
    /// asked for or sent. Ingress and the notifier must have the same.
    #[arg(long, env = "USHER_MAIL_FROM", default_value = "", hide_default_value = true)]
    pub mail_from: String,
}

impl Mail {
    /// Whether mails are sent at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.mail_from.is_empty()
    }
}

/// How a process logs and how it stops.
#[derive(Args, Clone, Debug)]
pub struct Process {
    /// `text` for people, `json` for machines.
    #[arg(long, env = "USHER_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
    /// What is logged: `info`, or a filter such as `info,allocator=debug`.
    #[arg(long, env = "USHER_LOG", default_value = "info")]
    pub log: String,
    /// Seconds for which a stopping process still serves, while `/readyz` answers 503 so that load
    /// balancers send it nothing new.
    #[arg(long, env = "USHER_DRAIN_SECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(..=600))]
    pub drain_seconds: u64,
    /// Most seconds for which a stopping process waits for its open requests and tasks.
    #[arg(long, env = "USHER_SHUTDOWN_SECONDS", default_value_t = 10)]
    pub shutdown_seconds: u64,
}

/// Settings that say where a process listens, and how.
pub trait Listen {
    fn listen(&self) -> (SocketAddr, &Http);
}

/// Settings that every HTTP listener has.
#[derive(Args, Clone, Debug)]
pub struct Http {
    /// Most open connections, WebSockets included; more wait in the kernel's queue.
    #[arg(long, env = "USHER_CONNECTIONS_MAX", default_value_t = 18_000)]
    pub connections_max: usize,
    /// Proxies whose `X-Forwarded-For` is trusted: addresses and networks such as `10.0.0.0/8`,
    /// separated by commas.
    #[arg(long, env = "USHER_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Origins of web pages that may call the API and open sockets, such as
    /// `https://tickets.example`, separated by commas; pages of the same host always may.
    #[arg(long, env = "USHER_ALLOWED_ORIGINS", default_value_t, hide_default_value = true)]
    pub allowed_origins: Origins,
    /// Where metrics are served, without a password: an address with a port, or an address alone
    /// for the listener's port plus 1000.
    #[arg(long, env = "USHER_METRICS_LISTEN", default_value = "127.0.0.1")]
    pub metrics_listen: MetricsListen,
}

/// An address for metrics, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    Near(IpAddr),
    At(SocketAddr),
}

impl MetricsListen {
    /// The address of the metrics of this listener.
    #[must_use]
    pub fn beside(self, listen: SocketAddr) -> SocketAddr {
        match self {
            Self::At(address) => address,
            Self::Near(address) if listen.port() == 0 => SocketAddr::new(address, 0),
            Self::Near(address) => SocketAddr::new(address, listen.port().saturating_add(1000)),
        }
    }
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let near = text.parse().map(Self::Near);
        near.or_else(|_| text.parse().map(Self::At))
            .map_err(|_| format!("`{text}` is not an address, with or without a port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_on_loopback_unless_told_otherwise() {
        let everywhere: SocketAddr = "0.0.0.0:8081".parse().unwrap();
        let beside = |text: &str| {
            text.parse::<MetricsListen>().map(|listen| listen.beside(everywhere).to_string())
        };
        assert_eq!(beside("127.0.0.1").unwrap(), "127.0.0.1:9081");
        assert_eq!(beside("::1").unwrap(), "[::1]:9081");
        assert_eq!(beside("0.0.0.0:9100").unwrap(), "0.0.0.0:9100");
        assert!(beside("localhost").is_err());
    }
}
