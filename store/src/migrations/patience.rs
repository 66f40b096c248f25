//! How long is waited for a lock or a turn, and how often that is told.

use std::time::Duration;

use sqlx::PgConnection;

/// What waits this long for a lock or for its turn is given up, and nothing is half done.
pub(super) const PATIENCE: Duration = Duration::from_mins(30);
/// How often it is told what is waited for.
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
