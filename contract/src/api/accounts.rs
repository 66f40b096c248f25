//! Accounts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AccountId, SessionId, access::Role};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub user_id: AccountId,
    pub name: String,
    pub email: String,
    /// Whether a link that was sent to the address was used.
    #[serde(default)]
    pub email_verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    pub role: Role,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signup {
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    #[schema(max_length = 254, pattern = "^[^@ ]{1,64}@[^@ ]+$")]
    pub email: String,
    #[schema(min_length = 8, max_length = 128)]
    pub password: String,
    #[serde(default)]
    #[schema(pattern = "^[-0-9 +.()]{3,20}$")]
    pub phone: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    pub email: String,
    pub password: String,
    /// Of the authenticator app, or a recovery code; needed where the account has a second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileChange {
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    #[serde(default)]
    #[schema(pattern = "^[-0-9 +.()]{3,20}$")]
    pub phone: Option<String>,
}

/// The answer to sign-up, login, refresh and a change of the password.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SignedIn)]
pub struct SignInAnswer {
    pub user: User,
    pub access_token: String,
    pub expires_at: DateTime<Utc>,
    /// Good for one `POST /auth/refresh`, which gives the next one.
    pub refresh_token: String,
    /// When the session ends, however often it is refreshed.
    pub refresh_expires_at: DateTime<Utc>,
}

/// The refresh token names the session and proves it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refresh {
    pub refresh_token: String,
}

/// A sign-in session of the caller.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub session_id: SessionId,
    pub created_at: DateTime<Utc>,
    /// When it began or was last refreshed.
    pub last_used_at: DateTime<Utc>,
    /// However often it is refreshed.
    pub expires_at: DateTime<Utc>,
    /// From where it was last used: a /24 of IPv4 or a /48 of IPv6. Whole addresses are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.0/24")]
    pub network: Option<String>,
    /// As the browser or app calls itself, at most 200 characters of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub user_agent: Option<String>,
    /// Whether the access token of this call is of this session. A token of a version before this
    /// list does not say; the next refresh gives one that does.
    pub current: bool,
}

/// The sessions of an account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// At most 20, the last used first.
    pub items: Vec<Session>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordChange {
    /// The present password.
    pub password: String,
    #[schema(min_length = 8, max_length = 128)]
    pub new_password: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordReset {
    /// The token of the link that came by mail, or that `usher admin create`, `grant` or `link`
    /// printed. It works once.
    pub token: String,
    #[schema(min_length = 8, max_length = 128)]
    pub password: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordForgotten {
    pub email: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressProof {
    /// The token of the link that came by mail. It works once.
    pub token: String,
}
