//! Money in minor units.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units (paise, cents) of an ISO 4217 currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub amount: i64,
    #[schema(example = "INR")]
    pub currency: String,
}
