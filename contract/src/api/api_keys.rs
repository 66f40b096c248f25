//! API keys.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ApiKeyId;

/// Which calls a key may make, as its account. Calls that need an account and belong to no scope
/// refuse every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// Writing movies, theatres, screens and shows, as far as the account may.
    #[serde(rename = "catalogue:write")]
    CatalogueWrite,
    /// Opening and closing sales, and their waiting rooms, as far as the account may.
    #[serde(rename = "sales:write")]
    SalesWrite,
    /// Reading the account's bookings, holds, orders and tickets.
    #[serde(rename = "bookings:read")]
    BookingsRead,
    /// Booking, holding, ordering, paying and cancelling.
    #[serde(rename = "bookings:write")]
    BookingsWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] =
        [Self::CatalogueWrite, Self::SalesWrite, Self::BookingsRead, Self::BookingsWrite];

    /// The word in JSON and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatalogueWrite => "catalogue:write",
            Self::SalesWrite => "sales:write",
            Self::BookingsRead => "bookings:read",
            Self::BookingsWrite => "bookings:write",
        }
    }

    /// The scope with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewApiKey {
    /// The present password: an access token may be stolen, and a key outlives it.
    pub password: String,
    /// What it is for.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    #[schema(min_items = 1, max_items = 4)]
    pub scopes: Vec<Scope>,
    /// When it ends by itself; without it, it does not.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeyRotation {
    /// The present password.
    pub password: String,
    /// Seconds for which the present secret stays good: an hour where it is absent. With 0 every
    /// earlier secret ends.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 86_400)]
    pub overlap_seconds: Option<u32>,
}

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub struct ApiKeyView {
    pub api_key_id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: DateTime<Utc>,
    /// Exact to a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Until when the secret before the last rotation is good, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<DateTime<Utc>>,
}

/// The keys of an account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyList {
    /// At most 20.
    pub items: Vec<ApiKeyView>,
}

/// A key with its secret, which is shown once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySecret {
    /// Sent as `Authorization: Bearer usher_…`.
    pub secret: String,
    #[serde(flatten)]
    pub key: ApiKeyView,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_word_in_json_and_in_the_database() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("everything"), None);
    }
}
