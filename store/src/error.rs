//! How the database can fail, as far as callers tell the cases apart.

use thiserror::Error;

pub type StoreResult<T> = Result<T, StoreError>;

/// A statement or transaction that did not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, is starting, stopping, or too busy. Nothing is known of a
    /// commit that was on its way.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A deadlock or serialisation failure: the whole transaction may be run again.
    #[error("the transaction lost a race and can be run again")]
    Contended(#[source] sqlx::Error),
    /// A constraint said no; its name says which.
    #[error("constraint {constraint} does not allow it")]
    Constraint {
        constraint: String,
        #[source]
        source: sqlx::Error,
    },
    /// The partition's queue has a newer consumer; what this one decided does not count.
    #[error("the partition has a newer session")]
    StaleEpoch,
    /// What changed between the two versions of a tier is not all there, or a version went back.
    #[error("the changes from version {known} to {latest} are not all there")]
    ChangesMissing { known: i64, latest: i64 },
    /// Stored data cannot be read by this version.
    #[error("stored data cannot be read: {0}")]
    Unreadable(String),
    #[error("a statement failed")]
    Other(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_)
            | E::Tls(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::Protocol(_) => Self::Unavailable(error),
            E::Database(database) => {
                let code = database.code().unwrap_or_default();
                if let Some(constraint) = database.constraint() {
                    return Self::Constraint { constraint: constraint.to_owned(), source: error };
                }
                match code.as_ref() {
                    "40001" | "40P01" | "55P03" => Self::Contended(error),
                    // Starting, stopping, killed, out of connections, out of disk, read-only.
                    "57P01" | "57P02" | "57P03" | "57014" | "25P03" | "25006" => {
                        Self::Unavailable(error)
                    }
                    code if code.starts_with("08") || code.starts_with("53") => {
                        Self::Unavailable(error)
                    }
                    _ => Self::Other(error),
                }
            }
            _ => Self::Other(error),
        }
    }
}

impl StoreError {
    /// Whether PostgreSQL ended this transaction to break a deadlock.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        let Self::Contended(sqlx::Error::Database(error)) = self else { return false };
        error.code().as_deref() == Some("40P01")
    }

    /// Whether a statement does not fit the schema, or may not be run.
    #[must_use]
    pub fn is_misfit(&self) -> bool {
        let source = std::error::Error::source(self);
        let error = source.and_then(|source| source.downcast_ref::<sqlx::Error>());
        let code = error
            .and_then(sqlx::Error::as_database_error)
            .and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code.starts_with("42"))
    }

    /// Whether this very constraint said no.
    #[must_use]
    pub fn is_constraint(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { constraint, .. } if constraint == name)
    }
}

/// Stored text that must parse, because it was checked before it was stored.
pub(crate) fn readable<T>(text: &str) -> StoreResult<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|error| StoreError::Unreadable(format!("`{text}`: {error}")))
}
