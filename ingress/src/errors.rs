//! Errors that several calls answer.

use contract::api::problem::Code;
use platform::http::ApiError;
use store::StoreError;

/// A database that is away is 503, anything else our fault.
pub(crate) fn database(error: StoreError) -> ApiError {
    match error {
        StoreError::Unavailable(_) | StoreError::Contended(_) => ApiError::unavailable(
            Code::DatabaseUnavailable,
            "the database does not answer; try again",
            1,
        )
        .caused_by(error),
        // Another node may know the word; or it is mended soon.
        StoreError::Unreadable(_) | StoreError::Installation { .. } => ApiError::unavailable(
            Code::DatabaseUnavailable,
            "this installation has a fault that its operator must mend; try again later",
            5,
        )
        .caused_by(error),
        other => ApiError::internal(other),
    }
}

/// The database's own error, where a transaction begins or commits.
pub(crate) fn transaction(error: impl Into<StoreError>) -> ApiError {
    database(error.into())
}

/// Why the board has no such show: it is in words of a newer version, or there is none.
pub(crate) fn not_on_board(board: &store::live::board::Board, show: contract::ShowId) -> ApiError {
    if board.is_unreadable(show) {
        ApiError::unavailable(
            Code::ShowNotReadable,
            "another node may know this show; try again",
            1,
        )
    } else {
        ApiError::not_found(Code::ShowNotFound)
    }
}
