//! Error answers that several calls share.

use contract::api::problem::Code;
use platform::http::ApiError;
use store::StoreError;

/// The answer to a database error: 503 where the database is away or broken, else 500.
pub(crate) fn database(error: StoreError) -> ApiError {
    match error {
        StoreError::Unavailable(_) | StoreError::Contended(_) => ApiError::unavailable(
            Code::DatabaseUnavailable,
            "the database does not answer; try again",
            1,
        )
        .caused_by(error),
        // Another node may be newer and read it, or an operator mends the installation.
        StoreError::Unreadable(_) | StoreError::Installation { .. } => ApiError::unavailable(
            Code::DatabaseUnavailable,
            "this installation has a fault that its operator must mend; try again later",
            5,
        )
        .caused_by(error),
        other => ApiError::internal(other),
    }
}

/// The answer to an error of a begin or a commit.
pub(crate) fn transaction(error: impl Into<StoreError>) -> ApiError {
    database(error.into())
}
