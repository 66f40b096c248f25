//! How the database can fail, as far as callers tell the cases apart.

use std::error::Error as _;

use thiserror::Error;

pub type StoreResult<T> = Result<T, StoreError>;

/// A statement or transaction that did not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, is starting, stopping, or too busy. It is unknown whether a
    /// commit that was on its way happened.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A deadlock or serialisation failure: the whole transaction may be run again.
    #[error("the transaction lost a race and can be run again")]
    Contended(#[source] sqlx::Error),
    /// A constraint refused the statement.
    #[error("constraint {constraint} does not allow it")]
    Constraint {
        constraint: String,
        #[source]
        source: sqlx::Error,
    },
    /// The partition has a newer session; what this session decided does not count.
    #[error("the partition has a newer session")]
    StaleEpoch,
    /// A change between the two versions of a tier is missing, or the version went back.
    #[error("the changes from version {known} to {latest} are not all there")]
    ChangesMissing { known: i64, latest: i64 },
    /// Stored data cannot be read by this version.
    #[error("stored data cannot be read: {0}")]
    Unreadable(String),
    /// The data cannot be stored: a value is out of range, or a text has a NUL. Another try would
    /// fail, too.
    #[error("the data does not allow it")]
    Data(#[source] sqlx::Error),
    /// The installation is at fault, not the data: a damaged disk or index, a missing table, column
    /// or right, a schema of another version, or an unknown code.
    #[error("the installation does not allow it ({code})")]
    Installation {
        code: String,
        #[source]
        source: sqlx::Error,
    },
}

/// What a SQLSTATE says is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Only the moment: the transaction may be run again at once.
    Race,
    /// The database is away, or too busy.
    Away,
    /// The data's own.
    Data,
    Installation,
}

/// The data is at fault only if that is certain; with an unknown code the installation is.
fn fault(code: &str) -> Fault {
    match code {
        "40001" | "40P01" | "55P03" => Fault::Race,
        // Stopping, starting, killed; time-outs of a statement, of an idle or long transaction and
        // of an idle session; read-only, as a standby is.
        "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "25P03" | "25P04" | "25006" => {
            Fault::Away
        }
        // An enum lacks a word, or bytes do not fit a type: program and schema are of different
        // versions.
        "22P02" | "22P03" => Fault::Installation,
        code => match code.get(..2) {
            // Out of connections, of memory, of disk; no connection.
            Some("08" | "53") => Fault::Away,
            Some("22") => Fault::Data,
            _ => Fault::Installation,
        },
    }
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
            E::Encode(_) => Self::Data(error),
            E::Database(database) => {
                let code = database.code().unwrap_or_default();
                if let Some(constraint) = database.constraint() {
                    return Self::Constraint { constraint: constraint.to_owned(), source: error };
                }
                match fault(&code) {
                    Fault::Race => Self::Contended(error),
                    Fault::Away => Self::Unavailable(error),
                    Fault::Data => Self::Data(error),
                    Fault::Installation => {
                        Self::Installation { code: code.into_owned(), source: error }
                    }
                }
            }
            _ => Self::Installation { code: "unreadable".into(), source: error },
        }
    }
}

/// Fails as a broken constraint does if a statement wrote fewer rows than it was to write.
pub(crate) fn all_written(written: u64, wanted: usize, constraint: &str) -> StoreResult<()> {
    if usize::try_from(written) == Ok(wanted) {
        return Ok(());
    }
    let source = sqlx::Error::RowNotFound;
    Err(StoreError::Constraint { constraint: constraint.to_owned(), source })
}

/// Whether a connection with this error should run no other statement, for example because its
/// plans are of an older schema.
pub(crate) fn spoils_connection(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    database.constraint().is_none()
        && database.code().is_some_and(|code| fault(&code) == Fault::Installation)
}

/// Whether another transaction stood in the way: it may be run again.
pub(crate) fn is_contended(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    database.code().is_some_and(|code| fault(&code) == Fault::Race)
}

impl StoreError {
    /// Whether PostgreSQL ended this transaction to break a deadlock.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        let Self::Contended(sqlx::Error::Database(error)) = self else { return false };
        error.code().as_deref() == Some("40P01")
    }

    /// Whether a statement waited for a lock in vain.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        let Self::Contended(sqlx::Error::Database(error)) = self else { return false };
        error.code().as_deref() == Some("55P03")
    }

    /// The error with its cause, for the log.
    #[must_use]
    pub fn text(&self) -> String {
        match self.source() {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// A short word for the fault, if the installation must be repaired.
    #[must_use]
    pub fn installation_code(&self) -> Option<String> {
        match self {
            Self::Installation { code, .. } => Some(code.clone()),
            Self::Unreadable(_) => Some("unreadable".into()),
            Self::Constraint { constraint, .. } => Some(constraint.clone()),
            _ => None,
        }
    }

    /// A copy of the error for another caller. Its cause becomes text.
    pub(crate) fn again(&self) -> Self {
        let cause = || {
            let text = self.source().map_or_else(|| self.to_string(), ToString::to_string);
            sqlx::Error::Io(std::io::Error::other(text))
        };
        match self {
            Self::Unavailable(_) => Self::Unavailable(cause()),
            Self::Contended(_) => Self::Contended(cause()),
            Self::Data(_) => Self::Data(cause()),
            Self::Unreadable(text) => Self::Unreadable(text.clone()),
            other => Self::Installation {
                code: other.installation_code().unwrap_or_default(),
                source: cause(),
            },
        }
    }

    /// Whether this constraint refused the statement.
    #[must_use]
    pub fn is_constraint(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { constraint, .. } if constraint == name)
    }
}

/// Parses stored text, which was checked before it was stored.
pub(crate) fn readable<T>(text: &str) -> StoreResult<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|error| StoreError::Unreadable(format!("`{text}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_the_datas_fault_is_called_so() {
        for code in ["22001", "22003", "22021", "22P05", "22023"] {
            assert_eq!(fault(code), Fault::Data, "{code}");
        }
        for code in [
            "58030", "58P01", "XX000", "XX001", "XX002", "42P01", "42703", "42501", "42883",
            "0A000", "42P18", "26000", "22P02", "22P03", "23502", "23000", "P0001", "25P02",
            "99999", "", "é",
        ] {
            assert_eq!(fault(code), Fault::Installation, "{code}");
        }
        for code in
            ["57014", "57P01", "57P03", "57P05", "25P03", "25P04", "25006", "08006", "53100"]
        {
            assert_eq!(fault(code), Fault::Away, "{code}");
        }
        for code in ["40001", "40P01", "55P03"] {
            assert_eq!(fault(code), Fault::Race, "{code}");
        }
    }
}
