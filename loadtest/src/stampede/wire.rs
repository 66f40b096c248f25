//! What a stampede is told and what it says.

use serde::{Deserialize, Serialize};

use super::{Counts, Trail};

/// What to do next. Orders are carried out one after the other; each ends with [`News::Done`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Visitors ask for a place, as fast as they are answered.
    Join {
        /// Number of the first of them; each has an address of its own by its number.
        first: usize,
        /// One access token for each.
        tokens: Vec<String>,
        /// Requests on their way at once.
        at_once: usize,
    },
    /// Everybody who has a place and no socket opens one.
    Open {
        /// Handshakes on their way at once.
        at_once: usize,
    },
    /// Visitors come, leave and lose their connections for a while, and some keep a trail.
    Stir(Stir),
    /// Says how it stands.
    Count,
}

/// A while of coming and going, evenly spread over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stir {
    pub seconds: u32,
    /// Share of those who watch that gives the place up, 0 to 1.
    pub leave: f64,
    /// Share that loses the connection and comes back to another node, 0 to 1.
    pub reconnect: f64,
    /// Number of the first who arrives.
    pub first: usize,
    /// One access token for each who arrives.
    pub arrivals: Vec<String>,
    pub sample: Sample,
}

/// Who keeps a trail.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Every visitor whose number divides by it.
    pub every: usize,
    /// And everybody with fewer than so many ahead at the beginning.
    pub front: u64,
}

/// What happened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// Everything so far; about once a second, and when an order is done.
    Counts(Counts),
    Joined(Joined),
    Trail(Trail),
    /// The order was carried out.
    Done,
}

/// The result of [`Order::Join`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Joined {
    pub from_ms: u64,
    pub until_ms: u64,
    /// How long each answer took.
    pub took_micros: Vec<u32>,
}
