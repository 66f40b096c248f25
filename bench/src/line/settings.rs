//! What is measured, and for how long.

use std::time::Duration;

use clap::Args;

use crate::site::Site;

/// A change of the line is in effect everywhere after this.
pub(super) const CHANGE_TIME: Duration = Duration::from_secs(2);
/// The truth is kept from so long before screens are looked at, so that the oldest numbers on
/// them have been true in it.
pub(super) const TRUTH_LEAD: Duration = Duration::from_secs(7);

/// Waiting visitors over several nodes of the waiting room.
#[derive(Args)]
pub(crate) struct Line {
    /// How many visitors watch at once.
    #[arg(long, default_value_t = 100_000)]
    pub(super) watchers: usize,
    /// Waiting rooms beside each other.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub(super) nodes: u16,
    /// Visitors let in per second while others come and go.
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub(super) rate: f64,
    /// How long they come and go; a quarter of it, nobody does.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..=3600))]
    pub(super) seconds: u32,
    /// Of a hundred watchers, so many leave meanwhile.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub(super) leave: u8,
    /// Of a hundred watchers, so many lose the connection and come back to another node.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) reconnect: u8,
    #[command(flatten)]
    pub(super) site: Site,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("between 1 and 10000 visitors a second".into()),
    }
}
