//! Settings of the waiting room.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use clap::{Args, ValueEnum};
use contract::deadline::{PASS_LEEWAY, PASS_LIFETIMES_MAX};
use platform::{
    config::{Backends, Http, Listen},
    number::millis,
};

/// Silence after which a visitor counts as absent; a present visitor is heard of far more often.
pub(crate) const ABSENT_AFTER: Duration = Duration::from_secs(20);
/// Silence after which a node's visitors are absent; a living node reports once a second.
pub(crate) const NODE_GONE_AFTER: Duration = Duration::from_secs(10);
/// An admission that is not settled within this time is done again, by any node.
const RETRY_ADMISSION_AFTER: Duration = Duration::from_secs(1);

/// Settings of a waiting-room process.
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
    /// Zero bits a proof of work needs; each further bit doubles the work. A phone needs some
    /// tenths of a second for 18.
    #[arg(long, env = "USHER_CHALLENGE_BITS", default_value_t = 18,
          value_parser = clap::value_parser!(u8).range(1..=32))]
    pub challenge_bits: u8,
    /// Joins per second and client address (IPv6: per /64), with a burst of ten seconds' worth; a
    /// mobile carrier has thousands of customers behind one address.
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

/// How long a sweep waits before it acts on a silence.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// Silence after which a visitor is absent.
    pub(crate) absent: Duration,
    /// Silence after which the place is lost.
    pub(crate) grace: Duration,
    /// Time after which an admission that is not settled is done again.
    pub(crate) retry: Duration,
    /// Silence after which a node is gone.
    pub(crate) node: Duration,
    /// For how long a lapsed pass still takes its slot.
    pub(crate) slot: Duration,
    /// Time until the sale is over; a day later the line is forgotten.
    pub(crate) sale: Duration,
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

    /// How long after the hold of a rebuild places are still kept for returning visitors.
    pub(crate) fn returns_ms(&self) -> u64 {
        u64::from(self.grace_seconds.saturating_sub(self.rebuild_seconds)) * 1000
    }

    /// How long after the hold of a rebuild a pass from before the loss may still be valid.
    pub(crate) fn lost_passes_ms(&self) -> u64 {
        millis(self.pass_lifetime() * PASS_LIFETIMES_MAX + PASS_LEEWAY)
    }

    /// The times a sweep goes by. The grace is at least [`ABSENT_AFTER`], since a visitor who is
    /// there may be silent for that time.
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
