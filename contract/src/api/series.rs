//! Many shows at once.

use chrono::{NaiveDate, Weekday};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::catalogue::{NewShow, Show};

/// Shows that differ only in their times.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewSeries {
    /// What all shows have in common. Each show begins at a time of its own, and its sale closes as
    /// long before or after as that of this one; all sales open when the sale of this one opens.
    pub show: NewShow,
    /// The first day, in the theatre's time zone.
    pub from: NaiveDate,
    /// The last day.
    pub until: NaiveDate,
    /// Days of the week; every day where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, max_items = 7, example = json!(["fri", "sat"]))]
    pub weekdays: Option<Vec<Weekday>>,
    /// Times of day at which shows begin, by the theatre's clocks.
    #[schema(min_items = 1, max_items = 24, example = json!(["18:00", "20:30"]))]
    pub times: Vec<String>,
}

/// Shows that were entered together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    pub items: Vec<Show>,
}
