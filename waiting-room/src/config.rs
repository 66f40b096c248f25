//! Settings of the waiting room.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use clap::{Args, ValueEnum};
use contract::deadline::PASS_LEEWAY;
use platform::config::{Backends, Http, Listen};

/// A visitor who is there is heard of far more often than this; after it, the visitor is absent.
pub(crate) const ABSENT_AFTER: Duration = Duration::from_secs(20);
/// A node says once a second that it is alive; after such a silence its visitors are absent.
pub(crate) const NODE_GONE_AFTER: Duration = Duration::from_secs(10);
/// Renewed as long as its visitor is there, a pass lasts at most so many lifetimes.
pub const PASS_LIFETIMES_MAX: u32 = 3;
/// An admission that is not settled after this is done again, by any node.
const RETRY_ADMISSION_AFTER: Duration = Duration::from_secs(1);

/// Everything the waiting room is told from outside.
#[derive(Args, Clone)]
#[group(id = "waiting_room")]
#[command(about = "The line of a flash sale: join, watch, be admitted")]
pub struct Config {
    /// Address the waiting room listens on.
    #[arg(
        long = "waiting-room-listen",
        env = "USHER_WAITING_ROOM_LISTEN",
        default_value = "127.0.0.1:8082"
    )]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub http: Http,
    #[command(flatten)]
    pub line: LineSettings,
}

impl Listen for Config {
    fn listen(&self) -> (SocketAddr, &Http) {
        (self.listen, &self.http)
    }
}

/// Times and limits of the line.
#[derive(Args, Clone, Debug)]
pub struct LineSettings {
    /// Seconds an admission pass is valid; renewed while its visitor is there, up to three times
    /// as long.
    #[arg(long, env = "USHER_PASS_SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub pass_seconds: u32,
    /// Seconds an absent visitor keeps the place.
    #[arg(long, env = "USHER_GRACE_SECONDS", default_value_t = 120,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub grace_seconds: u32,
    /// Seconds admission waits for visitors to come back, after Redis has lost the line.
    #[arg(long, env = "USHER_REBUILD_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(0..=60))]
    pub rebuild_seconds: u32,
    /// Most sockets and streams that one account has open; beyond that the oldest is closed.
    #[arg(long, env = "USHER_SOCKETS_PER_ACCOUNT_MAX", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sockets_per_account_max: u32,
    /// What a client must solve to join: nothing, or a proof of work.
    #[arg(long, env = "USHER_CHALLENGE", default_value = "off", value_enum)]
    pub challenge: ChallengeKind,
    /// Zero bits a proof of work needs; each one more doubles the work. A phone needs some tenths
    /// of a second for 18.
    #[arg(long, env = "USHER_CHALLENGE_BITS", default_value_t = 18,
          value_parser = clap::value_parser!(u8).range(1..=32))]
    pub challenge_bits: u8,
    /// Joins per second and client address (IPv6: per /64), with a burst of ten seconds' worth; a
    /// carrier has thousands of customers behind one.
    #[arg(long, env = "USHER_LIMIT_JOINS_PER_SECOND", default_value = "200")]
    pub limit_joins_per_second: NonZeroU32,
}

/// Which challenge a client must solve to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChallengeKind {
    Off,
    /// Find a number by trying.
    ProofOfWork,
}

/// How long a sweep waits for somebody.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// Silence after which a visitor is absent.
    pub absent: Duration,
    /// Silence after which the place is lost.
    pub grace: Duration,
    /// After it an admission that is not settled is done again.
    pub retry: Duration,
    /// Silence after which a node is gone.
    pub node: Duration,
    /// For how long a lapsed pass still takes its slot.
    pub slot: Duration,
    /// Until the sale is over; a day later all is forgotten.
    pub sale: Duration,
}

impl LineSettings {
    pub(crate) fn pass_lifetime(&self) -> Duration {
        Duration::from_secs(self.pass_seconds.into())
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }

    pub(crate) fn rebuild_ms(&self) -> u64 {
        u64::from(self.rebuild_seconds) * 1000
    }

    /// How long after the hold of a rebuild places are still kept for those who come back.
    pub(crate) fn returns_ms(&self) -> u64 {
        u64::from(self.grace_seconds.saturating_sub(self.rebuild_seconds)) * 1000
    }

    /// How long after the hold of a rebuild a pass of before the loss may still be taken.
    pub(crate) fn lost_passes_ms(&self) -> u64 {
        let longest = self.pass_lifetime() * PASS_LIFETIMES_MAX + PASS_LEEWAY;
        u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
    }

    /// When somebody counts as absent, and when the place is lost. A grace that is shorter than
    /// the silence of a visitor who is there begins with that silence.
    pub(crate) fn patience(&self, slot: Duration, sale: Duration) -> Patience {
        let grace = self.grace().max(ABSENT_AFTER);
        Patience {
            absent: ABSENT_AFTER,
            grace,
            retry: RETRY_ADMISSION_AFTER,
            node: NODE_GONE_AFTER,
            slot,
            sale,
        }
    }
}
