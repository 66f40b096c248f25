//! The orders to a stampede, and its news.

use serde::{Deserialize, Serialize};

use super::{Counts, Trail};

/// An order to a stampede. Orders are carried out one after the other; each ends with
/// [`News::Done`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Visitors join as fast as they are answered.
    Join {
        /// Number of the first visitor; each claims an address of its own by its number.
        first: usize,
        /// One access token per visitor.
        tokens: Vec<String>,
        /// Requests under way at once.
        at_once: usize,
    },
    /// Every visitor with a place and no socket opens one.
    Open {
        /// Handshakes under way at once.
        at_once: usize,
    },
    /// Visitors come, leave and lose connections for a time, and some keep a trail.
    Stir(Stir),
    /// Report the counts.
    Count,
}

/// A time of coming and going, spread evenly over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stir {
    pub seconds: u32,
    /// Share of the watchers that leave, 0 to 1.
    pub leave: f64,
    /// Share of the watchers that lose the connection and come back to another node, 0 to 1.
    pub reconnect: f64,
    /// Number of the first arrival.
    pub first: usize,
    /// One access token per arrival.
    pub arrivals: Vec<String>,
    pub sample: Sample,
}

/// Which visitors keep a trail.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Visitors whose number is a multiple of this.
    pub every: usize,
    /// And visitors with fewer than this many ahead at the beginning.
    pub front: u64,
}

/// News from a stampede.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// The counts so far; sent about once a second, and when an order is done.
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
