//! Settings of ingress.

use std::net::SocketAddr;

use clap::{ArgAction, Args};
use platform::config::{Backends, Http, Listen, Mail};

use crate::limits::LimitSettings;

/// Settings of this service.
#[derive(Args, Clone)]
#[command(about = "Usher's public REST API: accounts, catalogue, bookings")]
pub struct Config {
    /// Address ingress listens on.
    #[arg(long, env = "USHER_INGRESS_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub http: Http,
    #[command(flatten)]
    pub mail: Mail,
    #[command(flatten)]
    pub sign_in: SignIn,
    #[command(flatten)]
    pub limits: LimitSettings,
}

impl Listen for Config {
    fn listen(&self) -> (SocketAddr, &Http) {
        (self.listen, &self.http)
    }
}

/// How people sign in.
#[derive(Args, Clone, Debug)]
pub struct SignIn {
    /// Seconds for which an access token is valid; then it must be refreshed.
    #[arg(long, env = "USHER_ACCESS_TOKEN_SECONDS", default_value_t = 900,
          value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub access_token_seconds: u32,
    /// Days after which a user must sign in again, however often the session was refreshed.
    #[arg(long, env = "USHER_SESSION_DAYS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=365))]
    pub session_days: u32,
    /// Most passwords hashed at the same time; each takes 19 MiB and one core for some 30 ms.
    #[arg(long, env = "USHER_PASSWORD_HASHES_MAX", default_value_t = 2)]
    pub password_hashes_max: usize,
    /// Whether administrators without a second factor are refused until they have set one up.
    #[arg(long, env = "USHER_ADMINS_NEED_SECOND_FACTOR", default_value_t = false,
          action = ArgAction::Set)]
    pub admins_need_second_factor: bool,
}
