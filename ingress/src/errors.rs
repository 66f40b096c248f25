//! Errors that several calls answer.

use platform::http::ApiError;
use store::StoreError;

/// A database that is away is 503, anything else our fault.
pub(crate) fn database(error: StoreError) -> ApiError {
    match error {
        StoreError::Unavailable(_) | StoreError::Contended(_) => ApiError::unavailable(
            "DATABASE_UNAVAILABLE",
            "the database does not answer; try again",
            1,
        )
        .caused_by(error),
        // Another node may know the word; or it is mended soon.
        StoreError::Unreadable(_) | StoreError::Installation { .. } => ApiError::unavailable(
            "DATABASE_UNAVAILABLE",
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

/// 404 for a show.
pub(crate) fn no_show() -> ApiError {
    ApiError::not_found("SHOW_NOT_FOUND")
}

/// Why the board has no such show: it is in words of a newer version, or there is none.
pub(crate) fn not_on_board(board: &store::board::Board, show: contract::ShowId) -> ApiError {
    if board.is_unreadable(show) {
        ApiError::unavailable("SHOW_NOT_READABLE", "another node may know this show; try again", 1)
    } else {
        no_show()
    }
}

/// 404 for a movie.
pub(crate) fn no_movie() -> ApiError {
    ApiError::not_found("MOVIE_NOT_FOUND")
}

/// 404 for a theatre.
pub(crate) fn no_theatre() -> ApiError {
    ApiError::not_found("THEATRE_NOT_FOUND")
}

/// 404 for a screen.
pub(crate) fn no_screen() -> ApiError {
    ApiError::not_found("SCREEN_NOT_FOUND")
}
