//! JSON as clients see it, over HTTP and WebSocket. camelCase; unknown fields are refused.

pub mod problem;
pub mod socket;
pub mod staff;
pub mod series;
pub mod accounts;
pub mod second_factors;
pub mod api_keys;
pub mod catalogue;
pub mod line;
pub mod bookings;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything but health and keys stands under this path.
pub const BASE: &str = "/api/v1";

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page with another form of its items.
    pub fn map<U>(self, form: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(form).collect(), next_cursor: self.next_cursor }
    }
}
