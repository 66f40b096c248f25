//! The settings of the bench of the line.

use std::time::Duration;

use clap::Args;

use crate::site::Site;

/// Time until a change of the line's settings is in effect everywhere.
pub(super) const CHANGE_TIME: Duration = Duration::from_secs(2);
/// How long before the first look at a screen the record of the line begins, so that it covers the
/// oldest numbers on the screens.
pub(super) const TRUTH_LEAD: Duration = Duration::from_secs(7);

/// Waiting visitors over several nodes of the waiting room.
#[derive(Args)]
pub(crate) struct Line {
    /// How many visitors watch at once.
    #[arg(long, default_value_t = 100_000)]
    pub(super) watchers: usize,
    /// Nodes of the waiting room.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub(super) nodes: u16,
    /// Visitors admitted per second while others come and go.
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub(super) rate: f64,
    /// Seconds in which visitors come and go; each quiet stretch lasts a quarter of it.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..=3600))]
    pub(super) seconds: u32,
    /// Watchers in a hundred who leave meanwhile.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub(super) leave: u8,
    /// Watchers in a hundred who lose the connection and come back to another node.
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
