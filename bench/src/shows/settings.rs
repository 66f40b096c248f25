//! The settings of the bench of many shows.

use clap::Args;

use crate::site::Site;

/// Many open shows of three tiers on one allocator and two waiting rooms.
#[derive(Args)]
pub(crate) struct Shows {
    /// How many shows are open at once.
    #[arg(long = "shows", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=5_000))]
    pub(super) open: u16,
    /// Bookings of the busy show per second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) rate: u16,
    /// Seconds of each stretch: the busy show alone, no bookings, the busy show among others.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(2..=3_600))]
    pub(super) seconds: u16,
    #[command(flatten)]
    pub(super) site: Site,
}
