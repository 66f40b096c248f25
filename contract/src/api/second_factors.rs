//! Second factors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::SignInAnswer;

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecondFactorSetUp {
    /// The present password.
    pub password: String,
}

/// The secret of an authenticator app. It is shown once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewSecondFactor {
    /// Base32, to type into the app.
    pub secret: String,
    /// The same as an `otpauth:` address, to show as a picture.
    pub uri: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecondFactorConfirmation {
    /// The six digits that the app shows.
    pub code: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondFactorConfirmed {
    /// Each is good once, in place of a code of the app. They are shown once.
    pub recovery_codes: Vec<String>,
    /// The new session; every other has ended.
    pub signed_in: SignInAnswer,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecondFactorRemoval {
    /// The present password.
    pub password: String,
    /// Of the app, or a recovery code.
    pub code: String,
}
