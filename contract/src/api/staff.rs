//! Who runs which theatre, and the log of what they did.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{AccountId, TheatreId};

/// What an account may do in a theatre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaffRole {
    /// Enters and changes screens and shows, opens and steers sales, and chooses the other staff.
    Organiser,
    BoxOffice,
    CheckIn,
}

/// Somebody who works for a theatre.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaffMember {
    pub account_id: AccountId,
    pub name: String,
    pub email: String,
    pub role: StaffRole,
    pub since: DateTime<Utc>,
}

/// The staff of a theatre.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Staff {
    pub items: Vec<StaffMember>,
}

/// Gives an account a role in a theatre.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewStaffMember {
    /// The address that the account signs in with.
    #[schema(max_length = 254)]
    pub email: String,
    pub role: StaffRole,
}

/// What the caller may do in a theatre.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    pub theatre_id: TheatreId,
    pub theatre: String,
    pub role: StaffRole,
}

/// What the caller may do, by theatre.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Memberships {
    pub items: Vec<Membership>,
}

/// An entry of the audit log. Entries are never changed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    pub entry_id: i64,
    pub at: DateTime<Utc>,
    /// The account that did it; null where a program did it by itself, or a person with SQL.
    pub actor: Option<AccountId>,
    /// The program, such as `ingress`.
    pub via: String,
    /// A kind of thing and what was done to it, such as `show.opened`.
    pub action: String,
    /// The id of the movie, theatre, screen, show or account.
    pub subject_id: Uuid,
    pub theatre_id: Option<TheatreId>,
    /// What was there before, by column; of a change only what differs.
    pub before: Option<serde_json::Value>,
    pub after: Option<serde_json::Value>,
    /// The address from which the call came.
    pub address: Option<String>,
    pub request_id: Option<Uuid>,
}
