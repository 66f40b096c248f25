//! How long a migration waits for a lock or for its turn, and how often it tells so.

use std::time::Duration;

use sqlx::PgConnection;

/// A migration that waits this long for a lock or for its turn is given up, with nothing half done.
pub(super) const PATIENCE: Duration = Duration::from_mins(30);
/// How often a waiting migration tells what it waits for.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(5);

/// Sets a time-out of the connection.
pub(super) async fn set(
    connection: &mut PgConnection,
    name: &str,
    to: Duration,
) -> sqlx::Result<()> {
    sqlx::query("select set_config($1, $2, false)")
        .bind(name)
        .bind(to.as_millis().to_string())
        .execute(connection)
        .await?;
    Ok(())
}
