//! What the system remembers: every SQL statement, by aggregate, and the seat locks in Redis.
//!
//! Order of locks in every transaction: partition → account quotas (sorted) → bookings → seat
//! claims → orders → outbox → numbers decided. A transaction that changes a tier's availability
//! locks the partition first. A batch writes new orders together with their bookings, before the
//! claims: nobody else can wait for rows that are not there yet.
//!
//! Queries for old rows compare their time with `statement_timestamp()`, so that an index is used:
//! `clock_timestamp()` may differ for each row, so every row would be read.

pub mod metrics;
pub mod pool;
mod connection;
mod server;
pub mod error;
pub mod accounts;
pub mod sessions;
pub mod devices;
pub mod password_links;
pub mod second_factors;
pub mod api_keys;
pub mod mails;
pub mod revocations;
pub mod keys;
pub mod idempotency;
pub mod bound_keys;
pub mod staff;
pub mod audit_log;
pub mod catalogue;
pub mod sale;
pub mod partitions;
pub mod acceptance;
pub mod bookings;
pub mod orders;
pub mod outbox;
pub mod seat_locks;
pub mod allocators;
pub mod backlogs;
pub mod line_marks;
pub mod admissions;
pub mod live;
pub mod audit;
pub mod waiting;
pub mod migrations;
pub mod many;

pub use connection::{Connection, Transaction};
pub use error::{StoreError, StoreResult};
pub use migrations::{MIGRATIONS, migrate};
pub use pool::{Pool, connect, connect_patiently, connect_to_follow, detached};
pub use sqlx::PgExecutor;
