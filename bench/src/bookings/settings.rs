//! The settings of the bench of bookings.

use std::path::PathBuf;

use clap::Args;

use crate::site::Site;

/// Bookings of a whole sale through ingress, one allocator and the notifier.
#[derive(Args)]
pub(crate) struct Bookings {
    /// Bookings in each round.
    #[arg(long = "bookings", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=500_000))]
    pub(super) each_round: u32,
    /// Rounds of each version; the medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(super) rounds: u16,
    /// Requests that are under way at once, each on a connection of its own.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(super) at_once: u16,
    /// Seats of the large hall, in which a decision is compared with one in a hall of 1,000. With
    /// its aisles a larger one would not fit into a layout.
    #[arg(long, default_value_t = 96_000, value_parser = clap::value_parser!(u32).range(1_000..=96_000))]
    pub(super) large_hall: u32,
    /// Bookings in each of the four sales whose cost to our processes is compared: in halls of 100
    /// and in the large one, in one partition and in many. At most those of a round, and half of
    /// the large hall's seats.
    #[arg(long = "cost-bookings", default_value_t = 3_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=10_000))]
    pub(super) each_way: u32,
    /// Partitions of the sale in many; at most a fifth of its bookings.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(2..=2_000))]
    pub(super) partitions: u16,
    /// Folder with the programs of another version, which is measured in turn with this one.
    #[arg(long)]
    pub(super) against: Option<PathBuf>,
    #[command(flatten)]
    pub(super) site: Site,
}
