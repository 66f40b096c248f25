//! Changes of the schema under load, as an upgrade or an operator makes them. A renamed column gets
//! its name back: failures meanwhile are the installation's fault and must condemn no booking.

use std::time::Duration;

use anyhow::bail;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::arena::Arena;

/// Columns that decisions, events and reads need.
const RENAMED: [(&str, &str); 5] = [
    ("orders", "lines"),
    ("bookings", "taken_seats"),
    ("seat_claims", "ended_at"),
    ("outbox", "body"),
    ("account_quotas", "live"),
];
const AWAY: &str = "renamed_for_a_moment";
/// Longest wait for a change: it waits for transactions, and another fault may take the database
/// away.
const DONE_WITHIN: Duration = Duration::from_mins(1);

/// A change of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// A column has another name for a time.
    Renamed(usize),
    /// A table has one more column for a time, so that prepared plans no longer fit.
    Added(usize),
    /// An enum type gets one more word.
    Word(u8),
}

impl SchemaChange {
    pub fn kind(self) -> &'static str {
        match self {
            Self::Renamed(_) => "rename a column",
            Self::Added(_) => "add a column",
            Self::Word(_) => "add a word to a type",
        }
    }
}

/// Makes a change, and takes it back after `lasts` if that is possible.
pub async fn alter(arena: &Arena, change: SchemaChange, lasts: Duration) -> anyhow::Result<()> {
    match change {
        SchemaChange::Renamed(n) => {
            let (table, column) = RENAMED[n % RENAMED.len()];
            rename(arena, table, column, AWAY).await?;
            sleep(lasts).await;
            rename(arena, table, AWAY, column).await
        }
        SchemaChange::Added(n) => {
            let (table, _) = RENAMED[n % RENAMED.len()];
            let add = format!("alter table {table} add column if not exists {AWAY} text");
            done(arena, &add).await?;
            sleep(lasts).await;
            done(arena, &format!("alter table {table} drop column if exists {AWAY}")).await
        }
        SchemaChange::Word(n) => {
            let add = format!("alter type rejection add value if not exists 'CHAOS_{n}'");
            done(arena, &add).await
        }
    }
}

/// Renames a column, by a statement that may be repeated, since an answer may be lost.
async fn rename(arena: &Arena, table: &str, from: &str, to: &str) -> anyhow::Result<()> {
    let block = format!(
        "do $$ begin
             if exists (select from information_schema.columns
                        where table_schema = current_schema and table_name = '{table}'
                          and column_name = '{from}') then
                 alter table {table} rename column {from} to {to};
             end if;
         end $$"
    );
    done(arena, &block).await
}

/// Repeats a change until it works; each try blocks others only for a short time.
async fn done(arena: &Arena, change: &str) -> anyhow::Result<()> {
    let until = Instant::now() + DONE_WITHIN;
    loop {
        let Err(error) = once(arena, change).await else { return Ok(()) };
        if Instant::now() > until {
            bail!("{change}: {error:#}");
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn once(arena: &Arena, change: &str) -> anyhow::Result<()> {
    let mut session = PgConnection::connect(arena.postgres_url()?).await?;
    sqlx::query("set lock_timeout = '1s'").execute(&mut session).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&mut session).await?;
    Ok(session.close().await?)
}
